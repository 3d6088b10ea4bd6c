// Chapter 5: batches for the trained network of the eight Gaussians, and the loss of each taken apart by (5.2), in the browser.
tinyddpm.figures.excess = stage => {
  const { load, random, mix, ring } = tinyddpm, model = load(tinyddpmWeights.eight_gaussians), { schedule } = model;
  const steps = [1, 2, 4, 8, 14, 24, 40, 64, 100, 140], source = random(5), KEPT = 40, SLICE = 256;
  const finely = Array.from({ length: 46 }, (_, i) => Math.round(10 ** (i / 20))).filter((t, i, all) => t !== all[i - 1]);
  const floors = finely.map(exactFloor), measured = new Map();  // what all points at a step add up to
  let batches = [], begun = null, waiting = 0, busy = false;  // at this t: those drawn, the one being drawn, and how many more

  const t = stage.slider({ label: "t", values: steps, value: 40, format: value => `${value} of ${schedule.T}`, change: anew });
  const n = stage.slider({ label: "points", values: [32, 128, 512, 2048], value: 128, format: String, change: anew });
  stage.button("Draw a batch", () => draw(1));
  stage.button("Draw 20", () => draw(20));
  const byStep = stage.panel({ label: "floor, and loss and excess as measured, against t", title: "by step", aspect: 0.85,
                               x: [0.9, 230], y: [5e-6, 900], log: true, logX: true, xLabel: "t", least: 150 });
  const byBatch = stage.panel({ label: "batches", title: "by batch", aspect: 0.85, x: [0.5, KEPT + 0.5], xLabel: "batch",
                                least: 150 });

  // The floor: as all eight look alike, the mean over the states of one, on a grid in its own standard deviations.
  function exactFloor(t) {
    const law = ring.marginal(schedule, t), width = Math.sqrt(law.variances[0]), [cx, cy] = law.means[0], xt = [], chance = [];
    for (let u = -5; u <= 5; u += 0.5) {
      for (let v = -5; v <= 5; v += 0.5) {
        xt.push(cx + width * u, cy + width * v);
        chance.push(Math.exp(-(u * u + v * v) / 2) / (8 * Math.PI));
      }
    }
    const best = ring.eps(schedule, Float64Array.from(xt), t);
    return 1 - chance.reduce((sum, p, i) => sum + p * (best[2 * i] ** 2 + best[2 * i + 1] ** 2) / 2, 0);  // (4.19), per coordinate
  }

  function anew() {
    [batches, begun, waiting] = [[], null, 0];
    draw(1);
  }
  function draw(more) {
    waiting = Math.min(waiting + more, KEPT);
    if (!busy) busy = requestAnimationFrame(slice);
  }
  const nothing = () => ({ points: 0, loss: 0, losses: 0, floor: 0, excess: 0, excesses: 0 });  // sums, and sums of squares

  // In each frame a part of a batch: its loss, and how far from the best answer the noise is, and the network.
  function slice() {
    const now = t.value, size = Math.min(SLICE, n.value), x0 = ring.sample(size, source), eps = source.normals(2 * size);
    const xt = mix(schedule, x0, now, eps), v = model.answer(xt, now), best = ring.eps(schedule, xt, now);
    const signal = Math.sqrt(schedule.alphaBar[now]), noise = Math.sqrt(schedule.lost[now]);
    if (!measured.has(now)) measured.set(now, nothing());
    begun ||= nothing();
    for (let i = 0; i < size; i++) {
      const square = (a, b) => ((a(2 * i) - b(2 * i)) ** 2 + (a(2 * i + 1) - b(2 * i + 1)) ** 2) / 2;
      const [noisy, exact, answer] = [j => eps[j], j => best[j], j => noise * xt[j] + signal * v[j]];  // by (4.15)
      const [loss, floor, excess] = [square(noisy, answer), square(noisy, exact), square(exact, answer)];
      for (const sums of [begun, measured.get(now)]) {
        sums.points++;
        sums.loss += loss; sums.losses += loss ** 2; sums.floor += floor; sums.excess += excess; sums.excesses += excess ** 2;
      }
    }
    if (begun.points >= n.value) {
      batches.push(begun);
      begun = null;
      waiting--;
    }
    busy = waiting > 0 && requestAnimationFrame(slice);
    stage.redraw();
  }

  const mean = (sums, what) => sums[what] / sums.points;
  const scatter = (sums, what, squares) => Math.sqrt(Math.max(0, sums[squares] / sums.points - mean(sums, what) ** 2));
  stage.draw(() => {
    byStep.curve(finely, floors, "exact");
    for (const [at, sums] of measured) {
      for (const [what, squares, color] of [["loss", "losses", "other"], ["excess", "excesses", "learned"]]) {
        const middle = mean(sums, what), error = 2 * scatter(sums, what, squares) / Math.sqrt(sums.points);
        byStep.curve([at, at], [middle - error, middle + error], color);
        byStep.points([at, middle], color, { radius: at === t.value ? 5 : 3, alpha: 1 });
      }
    }
    byStep.legend([["exact", "floor, exact"], ["other", "loss"], ["learned", "excess"]]);

    const floor = exactFloor(t.value), all = measured.get(t.value), shown = batches.slice(-KEPT);
    if (!all) return;
    byBatch.y = [0, 2 * floor];
    byBatch.begin();
    const luck = 2 * scatter(all, "loss", "losses") / Math.sqrt(n.value), ends = byBatch.x;
    byBatch.area(ends, ends.map(() => floor - luck), ends.map(() => floor + luck), "noise", { alpha: 0.25 });
    byBatch.level(floor, "exact", { width: 1.5, dash: [] });
    byBatch.points(shown.flatMap((sums, i) => [i + 1, mean(sums, "floor")]), "exact", { radius: 4.5, alpha: 1 });
    byBatch.points(shown.flatMap((sums, i) => [i + 1, mean(sums, "loss")]), "other", { radius: 3, alpha: 1 });
    byBatch.legend([["other", "loss"], ["exact", "its floor"]]);
    byBatch.describe(`The losses of ${shown.length} batches, about the floor ${floor.toFixed(3)}, each near that of its points.`);
    const excess = mean(all, "excess"), error = 2 * scatter(all, "excess", "excesses") / Math.sqrt(all.points);
    const needed = (2 * scatter(all, "loss", "losses") / excess) ** 2;
    const last = shown.at(-1), to = (digits, value) => value.toLocaleString("en", { maximumSignificantDigits: digits });
    const newest = last ? `The last batch has a loss of ${mean(last, "loss").toFixed(3)}. ` : "";
    stage.says(`${newest}The floor is ${floor.toFixed(3)}, and luck moves a batch of ${n.value} by ±${to(2, luck)}. ` +
      `The excess, measured on ${all.points.toLocaleString("en")} points, is ` +
      `${to(2, excess)} ± ${to(1, error)}; in the loss alone it would show with some ${to(1, needed)} points.`);
  });
  draw(1);
};
