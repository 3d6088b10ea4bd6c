// Chapter 1: the forward process. Digits or points, noised by (1.16) with one noise for each, under a schedule that the reader sets.
tinyddpm.figures.forward = (stage, { digits = null }) => {
  const { random, linear, cosine, mix, mixture, ring, short } = tinyddpm;
  const schedules = { linear, cosine };
  let schedule = linear(1000);
  const remake = () => {
    const share = t.value / schedule.T;
    schedule = schedules[kind.value](T.value);
    t.limit(0, schedule.T);
    t.set(Math.round(share * schedule.T));
  };
  const kind = stage.choice({ label: "schedule", options: ["linear", "cosine"], change: remake });
  const T = stage.slider({ label: "T", values: [10, 20, 50, 100, 200, 500, 1000], value: 1000, format: String, change: remake });
  const t = stage.slider({ label: "t", min: 0, max: 1000, value: 0, format: value => `${value} of ${schedule.T}` });
  stage.play(t);
  const percent = share => `${(100 * share).toFixed(share < 0.001 ? 3 : share < 0.1 ? 2 : 1)} %`;

  if (digits) {
    const noise = random(3).normals(64 * digits.length), x0 = Float32Array.from(digits.flat(3));
    const panels = digits.map((_, i) => stage.panel({ label: `digit ${i + 1}, noised`, aspect: 1, frame: false, least: 60 }));
    stage.draw(() => {
      const xt = mix(schedule, x0, t.value, noise), most = Math.sqrt(schedule.alphaBar[t.value]) + 2 * Math.sqrt(schedule.lost[t.value]);
      panels.forEach((panel, k) => panel.image(8, 8, i => {
        const grey = 255 * Math.min(1, Math.max(0, (xt[64 * k + i] / most + 1) / 2));
        return [grey, grey, grey, 255];
      }, { smooth: true }));
      stage.says(`At t = ${t.value} of ${schedule.T}, ${percent(schedule.alphaBar[t.value])} of the data's variance is left; the last state keeps ${percent(schedule.alphaBar[schedule.T])}.`);
    });
    return;
  }

  const n = 2000, source = random(3), x0 = ring.sample(n, source), noise = source.normals(2 * n);
  const plane = stage.panel({ label: "2000 points, and the exact density of x_t behind them", title: "points, and the exact density", x: [-4, 4], y: [-4, 4], aspect: 1 });
  const across = stage.panel({ label: "histogram of the first coordinate, and its exact density", title: "the first coordinate", x: [-4, 4], y: [0, 0.9], aspect: 1 });
  const edges = Array.from({ length: 81 }, (_, i) => -4 + i / 10), xs = Array.from({ length: 321 }, (_, i) => -4 + i / 40);
  stage.draw(() => {
    const xt = mix(schedule, x0, t.value, noise), law = ring.marginal(schedule, t.value);
    const first = mixture(law.means.map(([x]) => [x]), law.variances, law.weights);
    let most = 0;
    for (const mean of law.means) most = Math.max(most, law.density(mean));
    most = Math.max(most, law.density([0, 0]));
    plane.shade((x, y) => law.density([x, y]), 1.6 * most, "noise");
    plane.points(xt, "data", { radius: 1.3, alpha: 0.55 });
    const heights = new Array(80).fill(0);
    for (let i = 0; i < 2 * n; i += 2) { const bin = Math.floor((xt[i] + 4) * 10); if (bin >= 0 && bin < 80) heights[bin] += 10 / n; }
    across.bars(edges, heights, "data");
    across.curve(xs, xs.map(x => first.density([x])), "exact");
    across.legend([["data", "2000 points"], ["exact", "exact"]]);
    stage.says(`At t = ${t.value} of ${schedule.T}: ${percent(schedule.alphaBar[t.value])} of the data's variance is left, and the largest gap between histogram and curve is ${short(gap(heights, first))}.`);
  });
  // The largest difference of the two distribution functions, as Kolmogorov and Smirnov measure it, at the edges of the bars.
  function gap(heights, law) {
    let seen = 0, exact = 0, most = 0;
    heights.forEach((height, i) => {
      seen += height / 10;
      for (let k = 0; k < 5; k++) exact += law.density([edges[i] + 0.01 + k / 50]) / 50;
      most = Math.max(most, Math.abs(seen - exact));
    });
    return most;
  }
};
