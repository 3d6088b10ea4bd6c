// Chapter 6: digits out of noise, by the trained network; below each state the picture that the network guesses behind it.
tinyddpm.figures.digits = stage => {
  const { random, load, ddim, seen, step } = tinyddpm;
  const n = 4, model = load(tinyddpmWeights.digits), { schedule } = model;
  const rows = ["state", "guess"].map(title =>
    stage.panel({ label: title, title, x: [0, n], y: [0, 1], aspect: 1 / n, frame: false, least: 400, most: 460 }));
  const counts = [5, 10, 20, 50, 100, 200];
  const steps = stage.slider({ label: "steps", values: counts, value: 200, format: String, change: () => begin() });
  const done = stage.slider({
    label: "steps\u00a0done", max: 200, format: k => `${k},\u00a0t\u00a0=\u00a0${schedule.T - schedule.T / steps.value * k}`,
    change: k => {
      follows = k >= states.length;  // what is not there yet is waited for
      if (follows) done.set(states.length - 1);
    },
  });
  stage.play(done, { seconds: 5 });
  stage.button("New noise", () => { seed++; begin(); });
  let [seed, states, follows] = [5, [], true];

  function begin() {
    stage.stop();
    [states, follows] = [[], true];
    done.limit(0, steps.value);
    stage.says(`Drawing in ${steps.value} steps.`);
    stage.work(walk());
  }
  // With all the fresh noise, which in all 200 steps is Algorithm 2.
  function* walk() {
    const plan = ddim(schedule, steps.value, 1), source = random(seed), keep = (x, guess) => {
      states.push({ x, guess });
      if (follows && (!stage.quiet || states.length > steps.value)) done.set(states.length - 1);
    };
    let x = source.normals(64 * n);
    for (let i = steps.value; i > 0; i--) {
      const answer = model.answer(x, plan.times[i]);
      keep(x, seen(model, x, plan.times[i], answer));
      yield 2000 / steps.value;
      x = step(plan, model, i - 1, x, answer, source.normals(64 * n));
    }
    keep(x, x);
    stage.redraw();
  }

  stage.draw(() => {
    const k = Math.min(done.value, states.length - 1);
    if (k < 0) return;
    rows.forEach((row, r) => {
      const pictures = r ? states[k].guess : states[k].x;
      for (let j = 0; j < n; j++) {
        row.image(8, 8, i => {
          const grey = 255 * Math.min(1, Math.max(0, (pictures[64 * j + i] + 1) / 2));
          return [grey, grey, grey, 255];
        }, { x: [j + 0.03, j + 0.97], y: [0.03, 0.97], smooth: true });
      }
      row.describe(`Four pictures, the ${r ? "guesses behind the states" : "states"} after ${k} of ${steps.value} steps`);
    });
    if (states.length <= steps.value) return;
    const end = states.at(-1).x, away = states[k].guess.reduce((sum, one, i) => sum + (one - end[i]) ** 2, 0) / end.length;
    stage.says(k === steps.value ? `Four digits in ${k} steps. Move “steps done” back to see where they came from.`
      : `With ${steps.value - k} of ${steps.value} steps to go, the guess differs from what comes out by `
        + `${Math.sqrt(away).toFixed(2)} in a pixel (root mean square); from black to white it is 2.`);
  });
  begin();
};
