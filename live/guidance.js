// Chapter 7: guidance on the ring. The same noises walk down with the exact guided field and with that of the trained network.
tinyddpm.figures.guidance = stage => {
  const { random, ring, load, told, ddim, walk } = tinyddpm;
  const network = load(tinyddpmWeights.eight_gaussians), { schedule } = network, sigma = Math.sqrt(ring.variances[0]);
  const best = (x, t, c) => (c === null ? ring : ring.given(c)).eps(schedule, x, t);
  const exact = { schedule, predict: "eps", clip: null, answer: best }, T = schedule.T;
  const parts = { "all the way": [0, T], "in the first third": [2 * T / 3, T], "in the middle third": [T / 3, 2 * T / 3],
                  "in the last third": [0, T / 3] };

  const s = stage.slider({ label: "guidance s", min: 0, max: 6, step: 0.25, value: 3 });
  const steps = stage.slider({ label: "steps", values: [5, 10, 25, 50, 100], value: 25, format: String });
  const c = stage.choice({ label: "told class", options: [..."01234567"], value: "1" });
  const part = stage.choice({ label: "guided", options: Object.keys(parts) });
  stage.play(s);

  // Points are made in small blocks, as many as a frame has time for, the oldest first: while a control moves, all follow it.
  const source = random(4), size = 8, patience = 8, noises = Array.from({ length: 25 }, () => source.normals(2 * size));
  const fields = [{ name: "exact field", color: "exact", model: exact },
                  { name: "trained network", color: "learned", model: network }];
  for (const field of fields) Object.assign(field, { next: 0, blocks: noises.map(noise => ({ noise, points: [], made: "" })) });
  function make({ model, blocks, next }, plan, settings) {
    const [low, high] = parts[part.value], plain = told(model, +c.value), strong = told(model, +c.value, s.value);
    const answer = (x, t) => (low < t && t <= high ? strong : plain)(x, t);
    Object.assign(blocks[next], { points: pairs(walk(plan, model, answer, blocks[next].noise)), made: settings });
  }
  const pairs = flat => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

  // The tilted law (7.8) in small squares around each class, where all of it lies. What does not depend on s is computed once.
  const lens = 1, larger = 2.2, reach = lens / larger, side = 16, across = i => ((i + 0.5) / side * 2 - 1) * reach;
  const cells = ring.means.flatMap(([x, y]) =>
    Array.from({ length: side * side }, (_, i) => [x + across(i % side), y - across(Math.floor(i / side))]));
  const logs = cells.map(x => [ring.logDensity(x), ring.chances(x).map(chance => Math.log(Math.max(chance, 1e-300)))]);

  // How far the mean of points, each with its weight, is from a centre, and how wide they lie; in standard deviations of a class.
  function summary(points, [a, b], weight = () => 1) {
    const mean = f => points.reduce((sum, x, i) => sum + weight(i) * f(x), 0) / points.reduce((sum, _, i) => sum + weight(i), 0);
    const x = mean(p => p[0]), y = mean(p => p[1]), width = Math.sqrt(mean(p => (p[0] - x) ** 2 + (p[1] - y) ** 2) / 2);
    return `${(Math.hypot(x - a, y - b) / sigma).toFixed(1)} σ off the centre, ${(width / sigma).toFixed(1)} σ wide`;
  }

  const edge = 2.4, within = ([x, y]) => Math.hypot(x, y) < lens;
  for (const field of fields) {
    field.panel = stage.panel({ label: `Points of the ${field.name} on the ring, and in its middle the class under a lens`,
                                title: field.name, x: [-edge, edge], y: [-edge, edge], aspect: 1, frame: false, least: 140 });
  }
  // The ring, and in its middle, where there is room, the class under a lens.
  function show({ color, panel, blocks }, density, [a, b], settings) {
    const most = 1.5 * Math.max(...density), green = stage.rgb("posterior");
    const patch = (k, x, y, half) => panel.image(side, side, i => [...green, 255 * density[k * side * side + i] / most],
      { smooth: true, x: [x - half, x + half], y: [y - half, y + half] });
    ring.means.forEach(([x, y], k) => { patch(k, x, y, reach); panel.circle(x, y, 3 * sigma, "data"); });
    patch(+c.value, 0, 0, lens);
    panel.circle(0, 0, larger * 3 * sigma, "data");
    for (const [x, y, radius] of [[0, 0, lens], [a, b, reach]]) panel.circle(x, y, radius, "muted", { dash: [3, 3] });
    for (const { points, made } of blocks) {
      const alpha = made === settings ? 0.7 : 0.3;
      panel.points(points.filter(point => !within(point)).flat(), color, { radius: 1.3, alpha });
      const seen = points.map(([x, y]) => [larger * (x - a), larger * (y - b)]).filter(within);
      panel.points(seen.flat(), color, { radius: 1.8, alpha });
    }
    panel.legend([["posterior", "tilted law"]]);
  }

  stage.draw(() => {
    const settings = [s, steps, c, part].map(control => control.value).join(), plan = ddim(schedule, steps.value);
    for (const field of fields) {
      const until = performance.now() + patience;
      for (let i = 0; i < noises.length && performance.now() < until; i++) {
        if (field.blocks[field.next].made !== settings) make(field, plan, settings);
        field.next = (field.next + 1) % noises.length;
      }
    }
    const k = +c.value, centre = ring.means[k], density = logs.map(([all, chances]) => Math.exp(all + s.value * chances[k]));
    for (const field of fields) show(field, density, centre, settings);
    const behind = fields.some(({ blocks }) => blocks.some(({ made }) => made !== settings));
    stage.line.style.opacity = behind ? 0.7 : 1;  // the sentence is of the settings before
    if (behind) return stage.redraw();
    const [ideal, learned] = fields.map(({ blocks }) => summary(blocks.flatMap(({ points }) => points), centre));
    stage.says(`Told class ${k} with guidance ${s.value} ${part.value}: the tilted law lies ` +
      `${summary(cells, centre, i => density[i])}; the exact field's points ${ideal}; the network's ${learned}.`);
  });
};
