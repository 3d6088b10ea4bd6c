// Chapter 4: the floor of the loss for two Gaussians that the reader moves, in its two parts, and what x_t looks like at a step.
tinyddpm.figures.floor = async stage => {
  await tinyddpm.script("pair");
  const { linear, cosine, mixture, pairFloor } = tinyddpm, schedules = { linear: linear(1000), cosine: cosine(1000) };
  const all = Array.from({ length: 1000 }, (_, i) => i + 1);
  const steps = [...new Set(all.slice(0, 121).map(i => Math.round(10 ** ((i - 1) / 40))))];
  const apart = stage.slider({ label: "distance", min: 0, max: 4, step: 0.1, value: 2, format: value => value.toFixed(1) });
  const width = stage.slider({ label: "width", min: 0, max: 1, step: 0.05, value: 0.2, format: value => value.toFixed(2) });
  const t = stage.slider({ label: "t", values: steps, value: steps.find(step => step >= 200), format: String });
  const kind = stage.choice({ label: "schedule", options: ["linear", "cosine"] });
  const loss = stage.panel({ label: "the floor of the loss against t, in two parts", title: "floor of the loss", aspect: 0.85,
                             x: [1, 1000], y: [0, 1.4], logX: true, xLabel: "t", least: 150 });
  const law = stage.panel({ label: "the density of the states at t, and its two halves", title: "density of the states",
                            aspect: 0.85, x: [-3.5, 3.5], xLabel: "state", least: 150 });
  const before = steps.map(step => pairFloor(schedules.linear, step, 2, 0.04)).map(([within, between]) => within + between);

  stage.draw(() => {
    const schedule = schedules[kind.value], at = step => pairFloor(schedule, step, apart.value, width.value ** 2);
    const parts = steps.map(at), within = parts.map(part => part[0]), both = parts.map(part => part[0] + part[1]);
    loss.area(steps, steps.map(() => 0), within, "noise", { alpha: 0.45 });
    loss.area(steps, within, both, "posterior", { alpha: 0.45 });
    loss.curve(steps, before, "muted", { dash: [3, 3], width: 1.2 });
    loss.curve(steps, both, "exact");
    loss.upright(t.value, "muted");
    loss.points([t.value, both[steps.indexOf(t.value)]], "exact", { radius: 4, alpha: 1 });
    loss.legend([["posterior", "which of two?"], ["noise", "noise or data?"], ["muted", "distance 2", [3, 3]]]);

    const now = mixture([-apart.value / 2, apart.value / 2], width.value ** 2).marginal(schedule, t.value);
    const reach = Math.max(3.5, apart.value / 2 + 3.5 * Math.sqrt(now.variances[0])), xs = all.map(i => reach * (i / 500 - 1));
    law.x = [-reach, reach];
    const halves = [now.given(0), now.given(1)].map(half => xs.map(x => half.density(x) / 2));
    const sum = xs.map((_, i) => halves[0][i] + halves[1][i]);
    law.y = [0, 1.1 * Math.max(...sum)];
    law.begin();
    law.area(xs, xs.map(() => 0), halves[0], "data", { alpha: 0.35 });
    law.area(xs, xs.map(() => 0), halves[1], "data", { alpha: 0.35 });
    law.curve(xs, sum, "exact");

    const [scatter, which] = at(t.value), least = all.reduce((sum, step) => sum + at(step)[0] + at(step)[1], 0) / 1000;
    stage.says(`At t = ${t.value} the best network leaves ${(scatter + which).toFixed(2)} of the noise's variance: ` +
      `${scatter.toFixed(2)} as it looks like the scatter of the data, ${which.toFixed(2)} as a state may come from ` +
      `either of the two. The simplified loss, over all t, is at least ${least.toFixed(2)}.`);
  });
};
