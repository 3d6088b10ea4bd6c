// Chapter 2: the true reverse step (2.2) from one state, beside the Gaussian with its mean and its variance, and by (2.3) how far
// the two are apart, from this state and from every other.
tinyddpm.figures["reverse-step"] = (stage, { means, variance, beta: start = 0.5, xt: from = 0.3 }) => {
  const { gaussian, schedule, mixture, short } = tinyddpm, data = mixture(means, variance);
  const END = 2.5, LEAST = 1e-7, states = line(-END, END, 200), places = line(-END, END, 300);
  const name = { xLabel: "x before the step", label: "" }, across = { x: [-END, END], label: "" };
  const whence = stage.panel({ ...name, ...across, title: "Bayes' rule (2.2)", y: [0, 1.6], aspect: 0.85, least: 150 });
  const back = stage.panel({ ...name, title: "the step back", aspect: 0.85, least: 150 });
  const far = stage.panel({ ...across, title: "how far from a Gaussian, from each state", xLabel: "state x_t", yLabel: "nats",
                            y: [LEAST, 10], log: true, aspect: 0.2, least: 600 });

  const betas = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  const shares = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1];
  const beta = stage.slider({ label: "step β", values: betas, value: start, format: String, change: remake });
  const xt = stage.slider({ label: "state x_t", min: -END, max: END, step: 0.01, value: from, format: minus });
  const share = stage.slider({ label: "ᾱ before it", values: shares, value: 1, format: String, change: remake });
  let steps, before, after, distances, average;
  remake();

  // What all states share: the laws before and after the step, the distance from each state, and its average over them.
  function remake() {
    steps = schedule([1 - share.value, beta.value]);
    [before, after] = [1, 2].map(t => data.marginal(steps, t));
    distances = states.map(x => distance(data.reverseStep(steps, x, 2)));
    const chance = states.map(after.density), whole = chance.reduce((a, b) => a + b);
    average = distances.reduce((sum, one, i) => sum + one * chance[i], 0) / whole;
  }

  stage.draw(() => {
    const law = data.reverseStep(steps, xt.value, 2), [mean, v] = moments(law), here = distance(law);
    const around = line(mean - 4 * Math.sqrt(v), mean + 4 * Math.sqrt(v), 400), density = around.map(law.density);
    const prior = places.map(before.density), step = places.map(x => gaussian(xt.value, Math.sqrt(1 - beta.value) * x, beta.value));
    const scaled = ys => ys.map(y => y / Math.max(...ys));
    whence.area(places, places.map(() => 0), scaled(prior), "data", { alpha: 0.25 });
    whence.curve(places, scaled(step), "noise");
    whence.curve(places, scaled(prior.map((p, i) => p * step[i])), "exact");
    whence.legend([["data", "density before"], ["noise", "step to x_t"], ["exact", "product"]], { left: true });

    const humps = count(density);
    back.x = [around[0], around[400]];
    back.y = [0, 1.4 * Math.max(...density)];
    back.begin();
    back.curve(around, density, "exact");
    back.curve(around, around.map(x => gaussian(x, mean, v)), "other", { dash: [6, 4] });
    back.legend([["exact", "true"], ["other", "Gaussian", [6, 4]]], { left: true });

    const chance = states.map(after.density), most = Math.max(...chance);
    const heights = chance.map(p => LEAST * (10 / LEAST) ** (0.9 * p / most));  // on no scale, but up from the axis
    far.area(states, states.map(() => LEAST), heights, "data", { alpha: 0.25 });
    far.curve(states, distances, "exact");
    far.level(average, "exact", { dash: [2, 3] });
    far.points([xt.value, Math.max(here, LEAST)], "learned", { radius: 4.5, alpha: 1 });

    whence.describe(`density before the step, the step to ${minus(xt.value)} as a function of where it began, and their product`);
    back.describe(`the true step back, with ${humps}, and the Gaussian with its mean ${short(mean)} and variance ${short(v)}`);
    far.describe(`divergence from a Gaussian for each state, on average ${nats(average)}, and how probable each state is`);
    stage.says(`From x_t = ${minus(xt.value)} the step back has ${humps} and is ${nats(here)} from a Gaussian; on average over all `
      + `states, ${nats(average)}. This state came from the right with probability ${law.weights[1].toFixed(2)}.`);
  });

  // (2.3), as a sum over points that are half a standard deviation of a component apart.
  function distance(law) {
    const [mean, v] = moments(law), width = Math.sqrt(law.variances[0]);
    const centres = law.means.map(([m]) => m).filter((_, k) => law.weights[k] > 1e-12);  // of others nothing would be seen
    const middle = (Math.min(...centres) + Math.max(...centres)) / 2, half = Math.max(...centres) - middle + 7 * width;
    let sum = 0;
    for (const z of line(middle - half, middle + half, Math.ceil(4 * half / width))) {
      const log = law.logDensity(z);
      sum += Math.exp(log) * (log - Math.log(gaussian(z, mean, v)));
    }
    return Math.max(0, sum * 2 * half / Math.ceil(4 * half / width));
  }
  function moments({ weights, means, variances }) {
    const mean = weights.reduce((sum, w, k) => sum + w * means[k][0], 0);
    return [mean, weights.reduce((sum, w, k) => sum + w * (variances[k] + (means[k][0] - mean) ** 2), 0)];
  }
  // How many tops a density has that can be seen: a twentieth of the highest is the least that counts.
  function count(density) {
    const most = Math.max(...density);
    const tops = density.filter((y, i) => y > density[i - 1] && y >= density[i + 1] && y > most / 20).length;
    return tops > 1 ? "two humps" : "one hump";
  }
  function line(low, high, n) { return Array.from({ length: n + 1 }, (_, i) => low + (high - low) * i / n); }
  function minus(x) { return x.toFixed(2).replace("-", "−"); }
  function nats(x) {
    if (x < 1e-9) return "less than 1e−9 nats";  // which 64 bits would not tell from 0
    return `${x < 0.001 ? x.toExponential(1).replace("-", "−") : short(x)} nats`;
  }
};
