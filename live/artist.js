// Draws what it is told, with the model of Chapter 9, beside the page: in a worker, so that the page stays responsive.
// A worker cannot load a script from disk, so it is made from the text of the engine, and is handed the weights.
(() => {
  "use strict";

  // What the worker does: for each job it goes from noise to a code, and shows each state and the picture that is decoded from it.
  // Between two steps it listens: another job takes the place of the one at hand.
  function serve(tinyddpm, post) {
    let model = null, job = null;
    const pixels = picture => {
      const n = picture.length / 3, rgba = new Uint8ClampedArray(4 * n).fill(255);
      for (let i = 0; i < 3 * n; i++) rgba[4 * (i % n) + Math.floor(i / n)] = 127.5 * (picture[i] + 1);
      return rgba;
    };
    const pause = () => new Promise(go => setTimeout(go));
    async function draw({ id, prompt, negative, guidance, steps, seed, start }) {
      const { schedule } = model, plan = tinyddpm.ddim(schedule, steps, 0);
      const answer = tinyddpm.told(model, [model.tokens(prompt)], guidance, negative ? [model.tokens(negative)] : null);
      let z = start ? Float32Array.from(start) : tinyddpm.random(seed).normals(model.size);
      for (let i = steps; i >= 0; i--) {
        const t = plan.times[i], picture = model.decode(z);
        post({ id, t, left: i, noise: schedule.lost[t], code: z, pixels: pixels(picture), picture: i ? null : picture });
        if (!i) return;
        await pause();
        if (job !== id) return;
        z = tinyddpm.move(plan, i - 1, z, tinyddpm.seen(model, z, t, answer(z, t)), null);
      }
    }
    return async message => {
      if (message.weights) model = tinyddpm.load(message.weights);
      job = message.id;
      if (message.prompt === undefined) return;
      try { await draw(message); } catch (error) { post({ id: message.id, error: error.message }); }
    };
  }

  // The artist of a page, one for all its figures: the weights are loaded with the first job.
  let hand = null, jobs = {}, last = 0;
  async function ready() {
    await tinyddpm.script("weights/scenes");
    if (!self.tinyddpmWeights?.scenes) throw new Error("its weights could not be read");
    const receive = answer => jobs[answer.id]?.(answer);
    const source = `const post = message => postMessage(message); const serve = (${serve})((${tinyddpmEngine})(), post);
      onmessage = ({ data }) => serve(data);`;
    let send;
    try {
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      worker.onmessage = ({ data }) => receive(data);
      worker.onerror = event => {  // it is gone, and with it what it was at
        hand = null;
        for (const id of Object.keys(jobs)) receive({ id, error: event.message || "it could not be begun" });
      };
      send = message => worker.postMessage(message);
    } catch { send = serve(tinyddpm, receive); }  // a browser that allows none: in the page itself, a step at a time
    send({ weights: tinyddpmWeights.scenes });
    return send;
  }

  // Draws `prompt`, and calls `each` with every state: { t, left, noise, code, pixels }. Resolves to the last state, which has the
  // `picture` too (3 x 64 x 64, in [-1, 1] or a little outside). A job that begins ends the one before it, which resolves to null.
  async function draw(prompt, { negative = "", guidance = 3, steps = 25, seed = 1, start = null, each = () => {} } = {}) {
    hand ||= ready().catch(error => { hand = null; throw error; });  // so that it can be tried again
    const send = await hand, id = ++last;
    Object.values(jobs).forEach(end => end(null));
    return new Promise((done, failed) => {
      jobs = { [id]: state => {
        if (state === null) return done(null);
        if (state.error) { delete jobs[id]; return failed(new Error(state.error)); }
        each(state);
        if (!state.left) { delete jobs[id]; done(state); }
      } };
      send({ id, prompt, negative, guidance, steps, seed, start });
    });
  }
  self.tinyddpm.artist = { draw };
})();
