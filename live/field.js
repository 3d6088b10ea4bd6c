// Chapter 6: the score of noisy data as arrows, the exact one and the learned one, and how far they differ where and when.
tinyddpm.figures.field = (stage, { t: first = 50 }) => {
  const { random, load, ring, mix, seen } = tinyddpm;
  const model = load(tinyddpmWeights.eight_gaussians), { schedule } = model;
  const side = 15, reach = 2.7, gap = 2 * reach / (side - 1), n = 200, source = random(4);
  const x0 = ring.sample(n, source), noise = source.normals(2 * n), grid = new Float32Array(2 * side * side);
  for (let i = 0; i < side * side; i++) grid.set([i % side * gap - reach, Math.floor(i / side) * gap - reach], 2 * i);

  // The noise that the network sees, whatever it predicts, and the best prediction of it; at the arrows and at n noisy data.
  function fields(t) {
    const data = mix(schedule, x0, t, noise), x = new Float32Array([...grid, ...data]), law = ring.marginal(schedule, t);
    const signal = Math.sqrt(schedule.alphaBar[t]), spread = Math.sqrt(schedule.lost[t]);
    const learned = seen(model, x, t, model.answer(x, t)).map((clean, i) => (x[i] - signal * clean) / spread);
    const exact = ring.eps(schedule, x, t), level = logs(law, data).sort()[n / 100], far = logs(law, grid).map(one => one < level);
    const [near, elsewhere] = [apart(learned, exact, grid.length, x.length), apart(learned, exact, 0, grid.length, far)];
    return { law, learned, exact, near, far: elsewhere };
  }
  function logs(law, x) { return Float64Array.from({ length: x.length / 2 }, (_, i) => law.logDensity([x[2 * i], x[2 * i + 1]])); }
  // The root of the mean squared difference over that of the exact field, for some of the points.
  function apart(learned, exact, from, end, counts = null) {
    let wrong = 0, all = 0;
    for (let i = from; i < end; i++) {
      if (counts && !counts[i >> 1]) continue;
      wrong += (learned[i] - exact[i]) ** 2;
      all += exact[i] ** 2;
    }
    return 100 * Math.sqrt(wrong / all);
  }

  const plane = stage.panel({
    label: "", title: "score: exact (thick), learned (thin)", x: [-3, 3], y: [-3, 3], aspect: 1, frame: false, most: 420,
    least: 300,
  });
  const course = stage.panel({
    label: "How far the two fields differ at each t, where noisy data lie and elsewhere", x: [0, 1.04 * schedule.T], y: [0.1, 100],
    log: true, xLabel: "t", yLabel: "difference, %", aspect: 0.5, least: 240,
  });
  const t = stage.slider({ label: "t", min: 1, max: schedule.T, value: first, format: value => `${value} of ${schedule.T}` });
  stage.play(t, { seconds: 8, back: true });

  stage.draw(() => {
    const { law, learned, exact, near, far } = fields(t.value), most = Math.max(...law.means.map(law.density), law.density([0, 0]));
    plane.shade((x, y) => law.density([x, y]), 1.6 * most, "data", { columns: 50, rows: 50 });
    // To one scale for all arrows of a picture: those far outside would otherwise be as long as the picture, or all others dots.
    let length = 0;
    for (let i = 0; i < grid.length; i += 2) length += Math.hypot(exact[i], exact[i + 1]) / (side * side);
    const scale = -0.8 * gap / length;  // the score points against the noise
    for (const [field, color, width] of [[exact, "exact", 3], [learned, "learned", 1.4]]) {
      for (let i = 0; i < grid.length; i += 2) {
        plane.arrow(grid[i], grid[i + 1], scale * field[i], scale * field[i + 1], color, { width });
      }
    }
    course.legend([["data", "where noisy data lie"], ["other", "elsewhere"]]);
    course.curve(known.map(one => one.t), known.map(one => one.near), "data");
    course.curve(known.map(one => one.t), known.map(one => one.far), "other");
    course.upright(t.value, "muted");
    course.points([t.value, near], "data", { radius: 4, alpha: 1 });
    course.points([t.value, far], "other", { radius: 4, alpha: 1 });
    const text = `At t = ${t.value}, the learned field differs from the exact one by ${part(near)} where noisy data lie, and by `
      + `${part(far)} elsewhere, where hardly any of them lie.`;
    plane.describe(`Arrows of both fields over the density of the noisy data. ${text}`);
    stage.says(text);
  });
  const part = percent => `${percent < 0.005 ? "less than 0.01" : percent.toFixed(percent < 1 ? 2 : percent < 10 ? 1 : 0)}\u00a0%`;
  // The curves, one point per frame.
  const known = [], times = [1, 2, 3, 5, 7, ...Array.from({ length: 20 }, (_, i) => 10 + 10 * i)];
  stage.work(function* () {
    for (const t of times) {
      const { near, far } = fields(t);
      known.push({ t, near, far });
      stage.redraw();
      yield;
    }
  }());
};
