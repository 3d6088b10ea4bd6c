// Chapter 3: what the bound of two narrow Gaussians is made of, for a chain, a variance and a network that the reader sets.
(() => {
  // The terms in nats, exactly: those of the best network, and what an error adds to each; row 1 is L_0, row t is L_{t-1}. A
  // network that is off by `off` everywhere has the squared error of the best one, plus the square of that. `spread` is the
  // variance of the two Gaussians.
  function boundTerms(schedule, variance, off, { apart, spread }) {
    const { T, beta, alpha, alphaBar, lost, betaTilde } = schedule, best = [0], added = [0];
    const sum = list => list.reduce((a, b) => a + b);
    schedule.floor ||= Array.from(lost, (_, t) => t && sum(tinyddpm.pairFloor(schedule, t, apart, spread)));
    for (let t = 1; t <= T; t++) {
      const sigma2 = variance === "beta" || T === 1 ? beta[t] : betaTilde[Math.max(t, 2)], ratio = betaTilde[t] / sigma2;
      const weight = beta[t] ** 2 / (2 * sigma2 * alpha[t] * lost[t]);  // Eq. (4.8)
      best.push(weight * schedule.floor[t] + (t > 1 ? (ratio - 1 - Math.log(ratio)) / 2 : Math.log(2 * Math.PI * sigma2) / 2));
      added.push(weight * off ** 2);
    }
    const end = (alphaBar[T] * (apart ** 2 / 4 + spread - 1) - Math.log(lost[T])) / 2;  // Eq. (3.22), its mean over the data
    return { best, added, end, bestTotal: sum(best) + end, error: sum(added) };
  }
  tinyddpm.boundTerms = boundTerms;

  tinyddpm.figures.bits = async (stage, { apart, spread }) => {
    await tinyddpm.script("pair");
    const counts = [5, 10, 20, 50, 100, 200, 500, 1000];
    const data = tinyddpm.mixture([-apart / 2, apart / 2], spread), made = {};
    const chain = T => made[`${kind.value} ${T}`] ||= tinyddpm[kind.value](T);  // which keeps its floor
    let entropy = 0;
    for (let x = -apart / 2 - 3; x <= apart / 2 + 3; x += 0.002) entropy -= 0.002 * data.density(x) * data.logDensity(x);

    const T = stage.slider({ label: "steps T", values: counts, value: 50, format: String });
    const kind = stage.choice({ label: "schedule", options: ["cosine", "linear"] });
    const variance = stage.choice({ label: "variance", options: [["beta", "β"], ["beta_tilde", "β̃"]] });
    const off = stage.slider({ label: "network off by", values: [0, 0.01, 0.02, 0.05, 0.1], value: 0, format: String });
    const price = stage.panel({ label: "bound minus entropy against the number of steps", title: "bound − entropy", aspect: 0.85,
                                x: [4, 1300], y: [2e-3, 100], log: true, logX: true, xLabel: "number of steps T", yLabel: "nats",
                                least: 150 });
    const parts = stage.panel({ label: "terms", title: "the bound, added up", aspect: 0.85, logX: true, xLabel: "t", least: 150 });

    stage.draw(() => {
      const bound = (T, which, e) => boundTerms(chain(T), which, e, { apart, spread });
      const above = (which, e) => counts.map(T => bound(T, which, e)).map(({ bestTotal, error }) => bestTotal + error - entropy);
      const found = bound(T.value, variance.value, off.value), total = found.bestTotal + found.error, e = off.value;
      for (const [which, dash] of [["beta", []], ["beta_tilde", [6, 4]]]) {
        price.curve(counts, above(which, 0), "exact", { dash, alpha: which === variance.value ? 1 : 0.5 });
        if (e && which === variance.value) price.curve(counts, above(which, e), "learned", { dash });
      }
      price.points([T.value, total - entropy], e ? "learned" : "exact", { radius: 5, alpha: 1 });
      price.legend([["exact", "β"], ["exact", "β̃", [6, 4]], ...(e ? [["learned", `off by ${e}`]] : [])]);
      addUp(found, total);
      const nats = value => value.toFixed(3).replace("-", "−"), share = part => `${(100 * part / found.error).toFixed(0)}\u00a0%`;
      const first = found.added.slice(1, 11).reduce((a, b) => a + b), last = found.added[T.value];
      const where = `${share(last)} of that at the last step${T.value > 10 ? `, ${share(first)} at the first ten` : ""}`;
      const error = e ? `, plus ${nats(found.error)} because this one is off by ${e} (${where})` : "";
      stage.says(`The bound is ${nats(total)} nats: ${nats(entropy)}, the entropy of the data, plus ` +
        `${nats(found.bestTotal - entropy)} that no network can avoid${error}. L_T is ${nats(found.end)}.`);
    });

    // L_0, then groups of steps, each twice as long as the one before and so as wide on a logarithmic axis, then L_T.
    function addUp({ best, added, end }, total) {
      const edges = [0.5, 1.5], last = T.value + 0.5, bars = [];
      for (let size = 1; edges.at(-1) < last; size *= 2) edges.push(Math.min(edges.at(-1) + size, last));
      const over = (list, i) => list.slice(edges[i] + 0.5, edges[i + 1] + 0.5).reduce((a, b) => a + b);
      let at = 0;
      for (let i = 0; i < edges.length; i++) {
        const [own, more] = i < edges.length - 1 ? [over(best, i), over(added, i)] : [end, 0];
        bars.push([at, at + own, at + own + more]);
        at += own + more;
      }
      const column = i => bars.map(bar => bar[i]);
      Object.assign(parts, { x: [0.42, 2.4 * last], y: [Math.min(-2, Math.floor(best[1] - 0.5)), Math.max(1.5, 1.4 * total)] });
      parts.begin();
      parts.bars([...edges, 2 * last], column(1), "exact", { alpha: 0.45, gap: 2, base: column(0) });
      parts.bars([...edges, 2 * last], column(2), "learned", { alpha: 1, gap: 2, base: column(1) });
      parts.level(entropy, "data", { width: 2 });
      parts.write("entropy", parts.left + 8, parts.up(entropy) - 9, { color: "data" });
      for (const [index, x, y] of [["0", 0.87, parts.up(Math.min(0, best[1])) + 10], ["T", 1.42 * last, parts.up(total) - 10]]) {
        parts.write("L", parts.at(x), y, { align: "right" });
        parts.write(index, parts.at(x) + 1, y + 3, { size: 9 });
      }
      parts.describe(`The terms of the bound, each on the sum of those before: L_0 is ${best[1].toFixed(2)}, ` +
        `the sum ${total.toFixed(2)}, the entropy ${entropy.toFixed(2)}.`);
    }
  };
})();
