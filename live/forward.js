// Chapter 1: the forward process. Digits or points with one noise for each, mixed by (1.16) under a schedule that the reader sets.
// Below them stands how much of the data is left at every t, for both schedules: what is seen above hangs on that number alone.
tinyddpm.figures.forward = (stage, { digits = null, t: start = 0 }) => {
  const { random, gaussian, linear, cosine, mix, mixture, ring, percent, short } = tinyddpm;
  // The share at which the middle of the ring stops being a hollow: its centres are then sqrt(2) standard deviations away.
  const HILL = 2 / (ring.means[0][0] ** 2 + 2 - 2 * ring.variances[0]);
  const draw = digits ? noisyDigits() : noisyPoints();
  const strip = stage.panel({ label: "", aspect: 0.13, least: 600 });

  let schedules, schedule;
  const other = () => kind.value === "linear" ? "cosine" : "linear";
  const kind = stage.choice({ label: "schedule", options: ["linear", "cosine"], change: remake });
  const T = stage.slider({ label: "T", values: [10, 20, 50, 100, 200, 500, 1000], value: 1000, format: String, change: remake });
  const t = stage.slider({ label: "t", max: 1000, value: start, format: value => `${value} of ${T.value}` });
  stage.play(t);
  remake();

  // Both schedules with T steps; t stays where it was on the way.
  function remake() {
    schedules = { linear: linear(T.value), cosine: cosine(T.value) };
    schedule = schedules[kind.value];
    strip.x = [0, 1.02 * T.value];  // with room for the last number
    strip.title = `share ᾱ of the data's variance left; dashed: ${other()}`;
    t.rescale(0, T.value);
  }

  stage.draw(() => {
    const left = schedule.alphaBar[t.value], end = schedule.alphaBar[T.value];
    drawStrip();
    stage.says(`At t = ${t.value}, ${percent(left)} of the data's variance is left${draw(left)}. `
      + `The last state, t = ${T.value}, keeps ${percent(end)}${end > 0.01 ? ": it is not noise" : ""}.`);
  });

  function drawStrip() {
    const { alphaBar } = schedule, steps = alphaBar.map((_, i) => i), gone = alphaBar.findIndex(share => share < 0.01);
    if (gone >= 0) {
      strip.bars([gone, T.value], [1], "muted", { alpha: 0.2 });
      const [from, to] = [gone, T.value].map(step => strip.at(step));
      if (to - from > 70) strip.write("below 1 %", (from + to) / 2, strip.up(0.77), { align: "center" });
    }
    if (!digits) {
      strip.level(HILL, "noise");
      strip.write("one hill", strip.left + 6, strip.up(HILL) + 9);
    }
    strip.curve(steps, schedules[other()].alphaBar, "muted", { width: 1.2, dash: [4, 3] });
    strip.curve(steps, alphaBar, "data");
    strip.upright(t.value, "learned", { dash: [] });
    strip.points([t.value, alphaBar[t.value]], "learned", { radius: 4.5, alpha: 1 });
    strip.describe(`${strip.title}. With the ${kind.value} schedule it falls to ${percent(alphaBar[T.value])} at t = ${T.value}`);
  }

  function noisyDigits() {
    const noise = random(3).normals(64 * digits.length), x0 = Float32Array.from(digits.flat(Infinity));
    const panels = digits.map((_, i) => stage.panel({ label: `digit ${i + 1}, noised`, aspect: 1, frame: false, least: 44 }));
    return left => {
      const xt = mix(schedule, x0, t.value, noise), most = 1 + 0.6 * Math.sqrt(1 - left);  // the grey scale widens with the noise
      panels.forEach((panel, k) => panel.image(8, 8, i => {
        const grey = 255 * (xt[64 * k + i] / most + 1) / 2;
        return [grey, grey, grey, 255];
      }, { smooth: true }));
      return "";
    };
  }

  function noisyPoints() {
    const n = 2000, source = random(1), x0 = ring.sample(n, source), noise = source.normals(2 * n), chance = 1.63 / Math.sqrt(n);
    const wide = { label: "", x: [-4, 4] }, title = "points and density";
    const plane = stage.panel({ ...wide, title, y: wide.x, aspect: 1, frame: false });
    const across = stage.panel({ ...wide, title: "the first coordinate", aspect: 0.93 });
    const edges = Array.from({ length: 81 }, (_, i) => -4 + i / 10), xs = Array.from({ length: 401 }, (_, i) => -4 + i / 50);
    return left => {
      const xt = mix(schedule, x0, t.value, noise), law = ring.marginal(schedule, t.value), name = shape(law, left);
      const first = mixture(law.means.map(([x]) => x), law.variances), exact = xs.map(first.density);
      const most = 2 * Math.max(law.density(law.means[0]), law.density([0, 0]));  // pale, and rescaled at every t
      plane.shade((x, y) => law.density([x, y]), most, "data", { columns: 64, rows: 64 });
      plane.points(xt, "data", { radius: Math.max(0.8, plane.width / 290), alpha: 0.7 });
      plane.describe(`2000 points, and behind them the exact density of x_t: ${name}`);
      const heights = new Array(80).fill(0);
      for (let i = 0; i < 2 * n; i += 2) {
        const bar = Math.floor((xt[i] + 4) * 10);
        if (bar >= 0 && bar < 80) heights[bar] += 10 / n;
      }
      across.y = [0, Math.max(0.6, 1.45 * Math.max(...exact))];  // with room for the legend
      across.begin();
      across.bars(edges, heights, "data");
      across.curve(xs, xs.map(x => gaussian(x)), "muted", { width: 1.2, dash: [4, 3] });
      across.curve(xs, exact, "exact");
      across.legend([["data", "2000 points"], ["exact", "exact"], ["muted", "N(0, 1)", [4, 3]]]);
      // The largest difference of the two distribution functions, as Kolmogorov and Smirnov measure it, at the edges of the bars.
      let seen = 0, known = 0, gap = 0;
      heights.forEach((height, i) => {
        seen += height / 10;
        for (let j = 5 * i; j < 5 * i + 5; j++) known += (exact[j] + exact[j + 1]) / 100;
        gap = Math.max(gap, Math.abs(seen - known));
      });
      across.describe(`histogram of the first coordinate, its exact density and the standard normal one; the gap is ${short(gap)}`);
      return `, and the density is ${name}; histogram and curve are ${gap.toFixed(3)} apart (by chance up to ${chance.toFixed(3)})`;
    };
  }

  // What the density looks like: one ring once it is between two centres within 3 % of its height at one.
  function shape(law, left) {
    const at = (radius, turn) => law.density([radius * Math.cos(turn), radius * Math.sin(turn)]);
    const top = turn => Math.max(...Array.from({ length: 80 }, (_, i) => at(i / 50, turn)));
    return left < HILL ? "one hill" : top(Math.PI / 8) > 0.97 * top(0) ? "a ring" : "eight clusters";
  }
};
