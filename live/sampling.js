// Chapter 6: the reverse process, by the trained network and by the exact field from the same noise, in as many steps as one likes.
tinyddpm.figures.sampling = stage => {
  const { random, load, ring, ddim, step, slicedWasserstein } = tinyddpm;
  const n = 500, counts = [1, 2, 5, 10, 20, 50, 100, 200];
  const learned = load(tinyddpmWeights.eight_gaussians), { schedule } = learned;
  // The best prediction of the noise, in the place of the network.
  const exact = { schedule, predict: "eps", clip: null, answer: (x, t) => ring.eps(schedule, x, t) };
  const names = ["learned", "exact"], percent = share => `${(100 * share).toFixed(1)}\u00a0%`;

  const planes = ["learned network", "exact field"].map(title =>
    stage.panel({ label: title, title, x: [-3, 3], y: [-3, 3], aspect: 1, frame: false, least: 120, most: 320 }));
  const record = stage.panel({
    label: "Of each run, the share of points near no mode, by the number of steps", x: [-0.4, 7.4], y: [0.1, 150], log: true,
    marks: counts.map((count, i) => [i, String(count)]), xLabel: "steps", yLabel: "near none, %", aspect: 0.25, least: 500,
  });

  const steps = stage.slider({ label: "steps", values: counts, value: 200, format: String, change: () => begin() });
  const eta = stage.slider({
    label: "fresh noise η", max: 1, step: 0.1, value: 1, format: one => one.toFixed(1), change: () => begin(),
  });
  const done = stage.slider({
    label: "steps\u00a0done", max: 200, format: k => `${k},\u00a0t\u00a0=\u00a0${schedule.T - schedule.T / steps.value * k}`,
    change: k => {
      follows = k >= run.states.length;  // what is not there yet is waited for
      if (follows) done.set(run.states.length - 1);
    },
  });
  stage.play(done, { seconds: 4 });
  let [start, fresh, follows, run, before, floor] = [1, 1000, true, null, null, null];
  stage.button("Same start again", () => { fresh++; begin(); });
  stage.button("New start", () => { start++; fresh++; begin(); });
  const runs = [], truth = [1, 2, 3, 4].map(seed => ring.sample(n, random(seed)));

  // A run takes one step per frame, or fewer where there are few to see.
  function begin() {
    stage.stop();
    if (run?.found) before = run;
    if (before?.start !== start) before = null;
    run = { start, steps: steps.value, eta: eta.value, states: [], found: null };
    done.limit(0, run.steps);
    follows = true;
    stage.says(`Drawing in ${run.steps} ${run.steps > 1 ? "steps" : "step"}.`);
    stage.work(walk(run));
  }
  function* walk(run) {
    const plan = ddim(schedule, run.steps, run.eta), source = random(fresh), noise = random(start).normals(2 * n);
    let now = [noise, noise];
    for (let i = run.steps; ; i--) {
      run.states.push(now);
      if (follows && (!stage.quiet || !i)) done.set(run.states.length - 1);
      if (!i) break;
      yield Math.min(400, 2500 / run.steps);
      const t = plan.times[i], z = plan.fresh && source.normals(2 * n);
      now = [learned, exact].map((model, k) => step(plan, model, i - 1, now[k], model.answer(now[k], t), z));
    }
    if (!floor) {
      const own = [];
      for (let seed = 11; seed < 27; seed++, yield) own.push(distance(ring.sample(n, random(seed))));
      const mean = own.reduce((a, b) => a + b) / 16;
      floor = { mean, spread: Math.sqrt(own.reduce((sum, one) => sum + (one / mean - 1) ** 2, 0) / 15) };
    }
    const found = [];
    for (const x of now) { yield; found.push({ ...near(x), over: distance(x) / floor.mean }); }
    run.found = found;
    run.moved = before && apart(before.states.at(-1)[0], now[0]);
    for (const old of runs) if (old !== before) old.states = null;  // only the last two ways are drawn
    runs.push(run);
    stage.redraw();
  }

  stage.draw(() => {
    const k = Math.min(done.value, run.states.length - 1);
    if (k < 0) return;
    planes.forEach((plane, m) => {
      for (const [x, y] of ring.means) plane.circle(x, y, 0.3, "data");
      plane.points(run.states[k][m], names[m], { radius: 1.4, alpha: 0.55 });
      if (before) trace(plane, before.states.map(state => state[m]), "muted", { width: 1, dash: [4, 3] });
      trace(plane, run.states.slice(0, k + 1).map(state => state[m]), "other", { width: 1.4, alpha: 0.9 });
      const share = percent(near(run.states[k][m]).share);
      plane.write(`${share} near a mode`, plane.width / 2, plane.height - 12, { align: "center", color: "ink" });
      plane.describe(`${names[m]}: after ${k} of ${run.steps} steps, ${share} of ${n} points are near a mode`);
    });
    record.level(100 * Math.exp(-4.5), "data");
    record.write("true points", record.at(-0.3), record.up(100 * Math.exp(-4.5)) - 8, { color: "data" });
    for (const one of runs) {
      one.found.forEach(({ share }, m) =>
        dot(counts.indexOf(one.steps) + 0.16 * (m - 0.5), 100 * (1 - share), names[m], one.eta, one === run));
    }
    record.legend([["learned", "learned"], ["exact", "exact"]]);
    if (run.found) stage.says(words(run));
  });

  // The way of the first point, and where it is.
  function trace(plane, states, color, style) {
    plane.curve(states.map(x => x[0]), states.map(x => x[1]), color, style);
    plane.points(states.at(-1).subarray(0, 2), color, { radius: 3.5, alpha: 1 });
  }
  // Hollow without fresh noise, full with all of it; those of the last run are larger.
  function dot(x, off, color, eta, last) {
    record.inside(pen => {
      Object.assign(pen, { fillStyle: stage.color(color), strokeStyle: stage.color(color), lineWidth: 1.3 });
      pen.beginPath();
      pen.arc(record.at(x), record.up(Math.max(off, 0.12)), last ? 5 : 3, 0, 7);
      pen.stroke();
      pen.globalAlpha = eta;
      pen.fill();
    });
  }
  function words({ steps, eta, found, moved }) {
    const whole = steps === schedule.T && eta === 1 ? "Algorithm 2, which is all 200 steps with η = 1" : "";
    const way = whole || `${steps} ${steps > 1 ? "steps" : "step"} with η = ${eta}`;
    const each = name => found.map(one => one[name]);
    const [a, b] = each("share").map(percent), [c, d] = each("over").map(over => over.toFixed(1));
    const again = moved === null ? ""
      : ` The network's points end ${moved.toFixed(2)} away, on average, from where the same start led in the run before.`;
    return `${way}. Near a mode: learned ${a}, exact ${b}, true points 98.9\u00a0%. Modes reached: ${each("modes").join(" and ")} `
      + `of 8. Distance from the data, in units of that of true points (1.0 ± ${floor.spread.toFixed(1)}): `
      + `learned ${c}, exact ${d}.${again}`;
  }

  // To four sets of true points, on average.
  function distance(x) { return truth.reduce((sum, y) => sum + slicedWasserstein(x, y, 2, 64) / 4, 0); }
  // How many points are within three standard deviations of a centre, and how many centres have a tenth of their fair share.
  function near(x) {
    const each = new Array(8).fill(0);
    for (let i = 0; i < 2 * n; i += 2) {
      const k = ring.means.findIndex(([a, b]) => Math.hypot(x[i] - a, x[i + 1] - b) < 0.3);
      if (k >= 0) each[k]++;
    }
    return { share: each.reduce((a, b) => a + b) / n, modes: each.filter(many => many >= n / 80).length };
  }
  function apart(x, y) {
    let sum = 0;
    for (let i = 0; i < 2 * n; i += 2) sum += Math.hypot(x[i] - y[i], x[i + 1] - y[i + 1]);
    return sum / n;
  }
  begin();
};
