// Chapter 2: prior, likelihood and posterior of one pixel (2.7), each a Gaussian of area 1, and their precisions, which add (2.13).
tinyddpm.figures.posterior = (stage, { x0: first = -0.5, xt: second = -0.48, t: start = 2 }) => {
  const { linear } = tinyddpm, schedule = linear(1000);
  const times = [2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000];
  const curves = stage.panel({ label: "", xLabel: "x before the step", aspect: 0.42, least: 600 });
  const sums = stage.panel({ label: "", title: "precisions: one over the variance", aspect: 0.13, least: 600, frame: false });
  const t = stage.slider({ label: "t", values: times, value: start, format: String });
  const grey = { min: -1.5, max: 1.5, step: 0.01, format: x => fine(x, 2) };
  const x0 = stage.slider({ label: "x_0", ...grey, min: -1, max: 1, value: first });
  const xt = stage.slider({ label: "x_t", ...grey, value: second });

  stage.play(t, { name: "Play t" });

  stage.draw(() => {
    const [alpha, beta] = [schedule.alpha[t.value], schedule.beta[t.value]], before = t.value - 1;
    const prior = { name: "prior", color: "data", precision: 1 / schedule.lost[before] };
    prior.mean = Math.sqrt(schedule.alphaBar[before]) * x0.value;
    const likelihood = { name: "likelihood", color: "noise", precision: alpha / beta, mean: xt.value / Math.sqrt(alpha) };
    const precision = prior.precision + likelihood.precision;
    const share = prior.precision / precision, mean = share * prior.mean + (1 - share) * likelihood.mean;  // (2.16)
    const posterior = { name: "posterior", color: "posterior", mean, precision };

    // As wide as the likelihood needs, and wide enough for both centres.
    const around = 4.5 / Math.sqrt(likelihood.precision), [low, high] = [prior.mean, likelihood.mean].sort((a, b) => a - b);
    curves.x = [low - around, high + around];
    curves.y = [0, 1.1 * Math.sqrt(precision / 2 / Math.PI)];
    curves.begin();
    const xs = Array.from({ length: 601 }, (_, i) => curves.x[0] + (curves.x[1] - curves.x[0]) * i / 600);
    for (const { mean, precision, color } of [prior, likelihood, posterior]) {
      curves.curve(xs, xs.map(x => Math.sqrt(precision / 2 / Math.PI) * Math.exp(-precision * (x - mean) ** 2 / 2)), color);
      curves.upright(mean, color);
    }

    const words = 132 / sums.width, bar = share => words + share * (1 - words);  // the words stand to the left of the bars
    [[prior, 0, share], [likelihood, share, 1], [posterior, 0, 1]].forEach(([law, from, to], i) => {
      sums.bars([bar(from), bar(to)], [(2.85 - i) / 3], law.color, { base: (2.15 - i) / 3, alpha: 0.8 });
      sums.write(`${["", "+ ", "= "][i]}${law.name} ${round(law.precision)}`, 0, sums.up((2.5 - i) / 3), { color: "ink" });
    });

    const off = (xt.value - Math.sqrt(schedule.alphaBar[t.value]) * x0.value) / Math.sqrt(schedule.lost[t.value]);
    curves.describe(`prior around ${fine(prior.mean)}, likelihood around ${fine(likelihood.mean)}, posterior around ${fine(mean)}`);
    sums.describe(`precisions: of the prior ${round(prior.precision)}, of the likelihood ${round(likelihood.precision)}, `
      + `and of the posterior their sum, ${round(precision)}`);
    const part = `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
    stage.says(`At t = ${t.value} the prior has ${part} of the precision. So the posterior's mean, ${fine(mean)}, lies ${part} of `
      + `the way from the likelihood's, ${fine(likelihood.mean)}, to the prior's, ${fine(prior.mean)}. `
      + `The noise in x_t is ${fine(off, 1)}.`);
  });

  function fine(x, digits = 3) { return x.toFixed(digits).replace("-", "−"); }
  function round(x) { return x.toFixed(x < 100 ? 1 : 0); }
};
