// Chapter 7: two classes side by side, in one dimension, and what guided DDIM draws of one of them with exact predictions.
tinyddpm.figures.tilted = stage => {
  const { cosine, ddim, gaussian, short } = tinyddpm;
  const schedule = cosine(400), { alphaBar, lost } = schedule, sigma = 0.5, v = sigma ** 2;
  const s = stage.slider({ label: "guidance s", min: 0, max: 8, step: 0.25, value: 3 });
  const place = stage.slider({ label: "classes at ±m", min: 0.25, max: 3, step: 0.25, value: 2, format: value => `m = ${value}` });
  const steps = stage.slider({ label: "steps", values: [5, 10, 20, 50, 100, 200, 400], value: 400, format: String });
  stage.play(s);

  // No point is left to chance: a fine grid of starts goes down, and each keeps the share of N(0, 1) that lies around it.
  const gap = 1 / 40, starts = Float64Array.from({ length: 401 }, (_, i) => (i - 200) * gap);
  const shares = starts.map(z => gap * gaussian(z, 0, 1));
  const followed = [-1.65, -0.675, 0, 0.675, 1.65].map(z => 200 + Math.round(z / gap));  // the quantiles 5, 25, 50, 75 and 95 %
  function walkDown(m) {
    const { times } = ddim(schedule, steps.value), x = starts.slice(), paths = followed.map(() => []);
    for (let i = times.length - 1; i >= 0; i--) {
      const t = times[i], centre = Math.sqrt(alphaBar[t]) * m, V = alphaBar[t] * v + lost[t], noise = Math.sqrt(lost[t]);
      followed.forEach((k, j) => paths[j].push((x[k] - centre) / Math.sqrt(V)));
      if (!i) break;
      const signal = Math.sqrt(alphaBar[times[i - 1]] / alphaBar[t]), less = Math.sqrt(lost[times[i - 1]]);
      for (let k = 0; k < x.length; k++) {
        const push = 2 * centre / V / (1 + Math.exp(2 * centre * x[k] / V));  // Eq. (7.22)
        const eps = noise * ((x[k] - centre) / V - (s.value - 1) * push);
        x[k] = signal * (x[k] - noise * eps) + less * eps;  // Eq. (6.7)
      }
    }
    return { x, paths, along: times.map(t => 1 - t / schedule.T).reverse() };
  }

  // How dense the ends lie: what is between two neighbours is spread evenly, also where the map from start to end turns back.
  const left = -5, bin = 0.02, edges = Array.from({ length: 551 }, (_, i) => left + i * bin);
  const xs = edges.slice(1).map(edge => edge - bin / 2);
  function density(ends) {
    const found = new Array(xs.length).fill(0);
    for (let k = 1; k < ends.length; k++) {
      const [a, b] = [ends[k - 1], ends[k]].map(x => (x - left) / bin), low = Math.min(a, b), high = Math.max(a, b, low + 1e-9);
      for (let i = Math.max(0, Math.floor(low)); i < Math.min(high, found.length); i++) {
        found[i] += (shares[k - 1] + shares[k]) / 2 * (Math.min(high, i + 1) - Math.max(low, i)) / (high - low) / bin;
      }
    }
    return found;
  }
  function summary(points, weights, m) {
    const total = weights.reduce((a, b) => a + b), mean = f => points.reduce((sum, x, i) => sum + weights[i] * f(x), 0) / total;
    const middle = mean(x => x), ahead = (middle - m) / sigma, width = Math.sqrt(mean(x => (x - middle) ** 2)) / sigma;
    return `${ahead < -0.005 ? "−" : "+"}${Math.abs(ahead).toFixed(2)} σ and ${width.toFixed(2)} σ`;
  }

  const law = stage.panel({ label: "Densities of all data, the class, the tilted law, and of what guided DDIM draws",
                            title: "density of x₀", x: [left, 6], y: [0, 2.6], aspect: 0.85 });
  const way = stage.panel({ label: "Five points on their way: how far each is ahead of the centre of the noised class",
                            title: "ahead, in σ", x: [0, 1], y: [-2.5, 4.5], xLabel: "share of the way", aspect: 0.85 });
  stage.draw(() => {
    const m = place.value, { x, paths, along } = walkDown(m), told = xs.map(x => gaussian(x, m, v));
    const tilt = xs.map((x, i) => told[i] * (1 + Math.exp(-2 * m * x / v)) ** (1 - s.value));  // Eq. (7.8)
    const total = bin * tilt.reduce((a, b) => a + b);
    law.bars(edges, told, "data", { alpha: 0.25 });
    law.curve(xs, xs.map((x, i) => (told[i] + gaussian(x, -m, v)) / 2), "data", { dash: [2, 3], width: 1.5 });
    law.curve(xs, tilt.map(value => value / total), "posterior");
    law.curve(xs, density(x), "learned");
    law.legend([["data", "the class"], ["posterior", "tilted law"], ["learned", "guided DDIM"]], { left: true });
    for (const k of followed) way.level(starts[k], "data", { dash: [2, 3] });
    for (const path of paths) way.curve(along, path, "learned", { width: 1.5 });
    stage.says(`Mean, from the class's centre, and standard deviation: tilted law ${summary(xs, tilt, m)}; ` +
      `guided DDIM ${summary(x, shares, m)}. The two centres are ${short(2 * m / sigma)} σ apart.`);
  });
};
