// Chapter 4: how much three losses weigh the error of the predicted noise at each step, for a schedule that the reader sets.
tinyddpm.figures.weights = stage => {
  const kind = stage.choice({ label: "schedule", options: ["linear", "cosine"], change: () => remake() });
  const variance = stage.choice({ label: "variance", options: [["beta", "β"], ["beta_tilde", "β̃"]], change: () => remake() });
  const T = stage.slider({ label: "steps T", values: [10, 20, 50, 100, 200, 500, 1000], value: 1000, format: String, change: () => {
    t.rescale(1, T.value);
    remake();
  } });
  const t = stage.slider({ label: "t", min: 1, max: 1000, value: 10, format: value => `${value} of ${T.value}` });
  const each = stage.panel({ label: "three weights against t, each over its average", title: "weight / its average", aspect: 0.85,
                             y: [1e-3, 2e4], log: true, xLabel: "t", least: 150 });
  const summed = stage.panel({ label: "", title: "share of it, up to t", aspect: 0.85, xLabel: "t", least: 150 });
  let losses;

  function remake() {
    const { beta, betaTilde, alpha, alphaBar, lost } = tinyddpm[kind.value](T.value), steps = Array.from(beta.keys()).slice(1);
    const sigma2 = s => variance.value === "beta" ? beta[s] : betaTilde[Math.max(s, 2)];
    losses = [["the bound", "exact", [], s => beta[s] ** 2 / (2 * sigma2(s) * alpha[s] * lost[s])],  // Eq. (4.8)
              ["error of x₀", "data", [6, 4], s => lost[s] / alphaBar[s]],  // Eq. (4.16), the other way round
              ["simplified", "learned", [], () => 1]].map(([name, color, dash, weight]) => {
      const weights = steps.map(weight), all = weights.reduce((a, b) => a + b);
      let sum = 0;
      return { name, color, dash, relative: weights.map(w => w / all * T.value), upTo: weights.map(w => (sum += w) / all) };
    });
    losses.steps = steps;
    each.x = summed.x = [0, T.value];
  }

  remake();
  stage.draw(() => {
    const now = t.value, { percent } = tinyddpm;
    for (const { color, dash, relative, upTo } of losses) {
      each.curve(losses.steps, relative, color, { dash });
      summed.curve([0, ...losses.steps], [0, ...upTo], color, { dash });
    }
    each.upright(now, "muted");
    summed.upright(now, "muted");
    for (const { color, relative, upTo } of losses) {
      each.points([now, relative[now - 1]], color, { radius: 4, alpha: 1 });
      summed.points([now, upTo[now - 1]], color, { radius: 4, alpha: 1 });
    }
    each.legend(losses.map(({ name, color, dash }) => [color, name, dash]));
    const [bound, ofData] = losses, most = loss => loss.relative[now - 1];
    const times = loss => {
      const much = tinyddpm.short(parseFloat(most(loss).toPrecision(2)));
      return most(loss) < 0.01 ? "less than 0.01 times as much" : much === "1" ? "as much" : `${much} times as much`;
    };
    summed.describe(`The share of each weight at steps up to t: at t = ${now}, ${percent(bound.upTo[now - 1])} for the bound.`);
    stage.says(`At t = ${now} the bound weighs an error ${times(bound)} as on average, ` +
      `the error of x₀ ${times(ofData)}. The steps up to there are ${percent(now / T.value)} of all, ` +
      `with ${percent(bound.upTo[now - 1])} of the bound's weight and ${percent(ofData.upTo[now - 1])} of that of x₀.`);
  });
};
