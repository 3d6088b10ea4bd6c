// The package once more, in plain JavaScript: enough of it for a page to sample from the trained models while one reads.
//
// Schedules, mixtures of Gaussians, the networks (MLP, UNet, Labels, Text, the autoencoder's decoder), guidance, the two samplers
// and the sliced distance, with the names and the equations of the Python modules. tests/test_live_engine.py holds each to PyTorch.
//
// All of it is one function that knows no page and loads nothing, so that a worker can be made from its text. What goes in and
// comes out is flat, a Float32Array of n rows, in the order that PyTorch stores a tensor in.
self.tinyddpmEngine = function () {
  "use strict";

  const range = n => Array.from({ length: n }, (_, i) => i);
  const list = x => typeof x === "number" ? [x] : Array.from(x); // a point, which is a number where d is 1

  // ---- Random numbers -------------------------------------------------------------------------------------------------------

  // Numbers that follow from a whole number, the seed: sfc32, whose state splitmix32 makes of it.
  function random(seed) {
    let state = seed | 0;
    const draw = () => {
      state = (state + 0x9e3779b9) | 0;
      let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return z ^ (z >>> 15);
    };
    let [a, b, c, counter] = [draw(), draw(), draw(), 1];
    const spare = [];

    // In [0, 1).
    function uniform() {
      const sum = (a + b + counter++) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + sum) | 0;
      return (sum >>> 0) / 2 ** 32;
    }

    // From N(0, 1), by Box and Muller, who make two at a time.
    function normal() {
      if (spare.length) return spare.pop();
      const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
      spare.push(radius * Math.sin(angle));
      return radius * Math.cos(angle);
    }

    for (let i = 0; i < 12; i++) uniform(); // seeds that are close have parted by then
    return { uniform, normal, normals: n => Float32Array.from({ length: n }, normal) };
  }

  // ---- Schedules (schedule.py) ----------------------------------------------------------------------------------------------

  // The tables that follow from beta_1, ..., beta_T; row t belongs to step t, and row 0 to clean data.
  function schedule(betas) {
    const T = betas.length, table = () => new Float64Array(T + 1);
    const [beta, alpha, alphaBar, lost, betaTilde] = [table(), table(), table(), table(), table()];
    alpha[0] = alphaBar[0] = 1;
    for (let t = 1; t <= T; t++) {
      beta[t] = betas[t - 1];
      alpha[t] = 1 - beta[t]; // Eq. (1.4)
      alphaBar[t] = alpha[t] * alphaBar[t - 1]; // Eq. (1.12)
      lost[t] = alpha[t] * lost[t - 1] + beta[t]; // 1 - alphaBar, of which a difference would leave few digits: Eq. (1.14)
      betaTilde[t] = lost[t - 1] / lost[t] * beta[t]; // Eq. (2.15)
    }
    return { T, beta, alpha, alphaBar, lost, betaTilde };
  }

  function linear(T = 1000, first = 1e-4, last = 0.02) {
    return schedule(range(T).map(i => first + (T > 1 ? i / (T - 1) : 0) * (last - first)));
  }

  // The differences of cos² are products of sines, in angles counted down from pi/2, as in the package: nothing cancels.
  function cosine(T = 1000, s = 0.008, maxBeta = 0.999) {
    const step = Math.PI / 2 / (T * (1 + s));
    return schedule(range(T).map(i => {
      const k = T - i, total = step * Math.min(2 * k - 1, 2 * i + 1 + 2 * T * s), below = Math.sin(k * step);
      return Math.min(Math.sin(step) / below * (Math.sin(total) / below), maxBeta);
    }));
  }

  // Eq. (8.17)
  function lognormal(T = 1000, mean = -0.5, std = 1.2) {
    const tail = normalShare(-3);
    let before = 0;
    return schedule(range(T).map(i => {
      const noise = mean + std * quantile(tail + (i + 1) / T * (1 - 2 * tail)); // log of sqrt(lost / alphaBar)
      const kept = -Math.log1p(Math.exp(2 * noise)); // log of alphaBar
      const beta = -Math.expm1(kept - before);
      before = kept;
      return beta;
    }));
  }

  // The density of N(mean, variance): Eq. (1.1).
  const gaussian = (x, mean = 0, variance = 1) => Math.exp(-((x - mean) ** 2) / 2 / variance) / Math.sqrt(2 * Math.PI * variance);

  // How probable it is that N(0, 1) lies below x, by its power series (Marsaglia 2004), for |x| up to 6 or so.
  function normalShare(x) {
    let term = x, sum = x;
    for (let i = 3, before = 0; sum !== before; i += 2) {
      term *= x * x / i;
      [before, sum] = [sum, sum + term];
    }
    return 0.5 + sum * gaussian(x);
  }

  // Below which x N(0, 1) lies with probability p. Newton's steps from 0 never go too far: the share bends towards 1, or 0.
  function quantile(p) {
    let x = 0;
    for (let i = 0; i < 30; i++) x -= (normalShare(x) - p) / gaussian(x);
    return x;
  }

  // x_t from x_0 and the noise: Eq. (1.16).
  function mix({ alphaBar, lost }, x0, t, eps) {
    const signal = Math.sqrt(alphaBar[t]), noise = Math.sqrt(lost[t]);
    return Float32Array.from(x0, (x, i) => signal * x + noise * eps[i]);
  }

  // ---- Mixtures of Gaussians (exact.py) -------------------------------------------------------------------------------------

  // K round Gaussians: K means (numbers, or arrays of d), a variance or K of them, and how probable each is.
  function mixture(means, variances, weights) {
    const K = means.length;
    means = means.map(list);
    variances = typeof variances === "number" ? Array(K).fill(variances) : Array.from(variances);
    weights = weights ? Array.from(weights) : Array(K).fill(1);
    const total = weights.reduce((a, b) => a + b), d = means[0].length;
    weights = weights.map(weight => weight / total);

    const from = (x, at, k) => means[k].reduce((sum, m, j) => sum + (x[at + j] - m) ** 2, 0); // the squared distance

    // The log of each component's weight times its density, for the point that begins at x[at].
    function joint(x, at = 0) {
      return means.map((_, k) => {
        const gap = from(x, at, k), v = variances[k];
        if (v === 0) return gap === 0 && weights[k] > 0 ? Infinity : -Infinity; // a component without width
        return Math.log(weights[k]) - gap / v / 2 - d / 2 * Math.log(2 * Math.PI * v);
      });
    }

    function logDensity(x) {
      const logs = joint(list(x)), most = Math.max(...logs);
      return Number.isFinite(most) ? most + Math.log(logs.reduce((sum, one) => sum + Math.exp(one - most), 0)) : most;
    }

    // How probable it is that the point that begins at x[at] came from each component: Eq. (7.4).
    function chances(x, at = 0) {
      const logs = joint(x, at), most = Math.max(...logs), parts = logs.map(one => Math.exp(one - most));
      const sum = parts.reduce((a, b) => a + b);
      return parts.map(part => part / sum);
    }

    // The gradient of the log density, for rows of points.
    function score(x) {
      const found = new Float32Array(x.length);
      for (let at = 0; at < x.length; at += d) {
        const each = chances(x, at);
        for (let j = 0; j < d; j++) {
          found[at + j] = means.reduce((sum, m, k) => sum + each[k] * (m[j] - x[at + j]) / variances[k], 0);
        }
      }
      return found;
    }

    // The law of x_t: Eq. (2.1).
    function marginal({ alphaBar, lost }, t) {
      const signal = Math.sqrt(alphaBar[t]);
      return mixture(means.map(mean => mean.map(m => signal * m)), variances.map(v => alphaBar[t] * v + lost[t]), weights);
    }

    // q(x_{t-1} | x_t), the true reverse step from one state: Eq. (2.2).
    function reverseStep(schedule, xt, t) {
      const x = list(xt), now = marginal(schedule, t), before = marginal(schedule, t - 1);
      const gain = before.variances.map((v, k) => Math.sqrt(schedule.alpha[t]) * v / now.variances[k]);
      const middle = before.means.map((mean, k) => mean.map((m, j) => m + gain[k] * (x[j] - now.means[k][j])));
      return mixture(middle, before.variances.map((v, k) => v * schedule.beta[t] / now.variances[k]), now.chances(x));
    }

    // The law of a point from component k, or from one of several.
    function given(k) {
      const chosen = list(k), of = table => chosen.map(one => table[one]);
      return mixture(of(means), of(variances), of(weights));
    }

    function sample(n, random) {
      const x = new Float32Array(n * d);
      for (let i = 0; i < n; i++) {
        let k = 0;
        for (let u = random.uniform() - weights[0]; u >= 0 && k < K - 1; u -= weights[k]) k++;
        for (let j = 0; j < d; j++) x[i * d + j] = means[k][j] + Math.sqrt(variances[k]) * random.normal();
      }
      return x;
    }

    // The best possible prediction of the noise, for rows of points: Eq. (4.18).
    function eps(schedule, x, t) {
      return marginal(schedule, t).score(x).map(slope => -Math.sqrt(schedule.lost[t]) * slope);
    }

    return {
      means, variances, weights, d, logDensity, score, eps, marginal, reverseStep, given, sample,
      density: x => Math.exp(logDensity(x)), chances: x => chances(list(x)),
    };
  }

  // The law of `eight_gaussians`: eight Gaussians on a ring, so far from its middle that the variance is 1.
  const std = 0.1, radius = Math.sqrt(2 * (1 - std ** 2));
  const ring = mixture(range(8).map(i => [radius * Math.cos(i * Math.PI / 4), radius * Math.sin(i * Math.PI / 4)]), std ** 2);

  // ---- Layers ---------------------------------------------------------------------------------------------------------------

  // Within a network pictures have their channels last, (n, height, width, channels): then everything is rows of features, and a
  // convolution is a linear map of the rows of all its windows. Numbers of 64 bits cost less here than going from 32 and back.
  const Numbers = Float64Array;

  // A linear map as it is stored, or a convolution, of which the weights of one place of the window come to stand together.
  function layer(at, name) {
    const { shape: [outside, inside], data } = at(`${name}.weight`), places = data.length / outside / inside;
    const w = new Numbers(data.length);
    for (let o = 0, i = 0; o < outside; o++) {
      for (let k = 0; k < inside; k++) for (let p = 0; p < places; p++) w[(o * places + p) * inside + k] = data[i++];
    }
    return { w, b: new Numbers(at(`${name}.bias`).data), inside: places * inside, outside };
  }

  // W x + b for each row of x. Two rows and four outputs at a time, so that what is read serves more than once; where there are
  // not as many left, the last one is computed again.
  function apply({ w, b, inside, outside }, x) {
    const rows = x.length / inside, y = new Numbers(rows * outside), last = outside - 1;
    for (let r = 0; r < rows; r += 2) {
      const s = Math.min(r + 1, rows - 1), xr = r * inside, xs = s * inside;
      for (let o = 0; o < outside; o += 4) {
        const p = Math.min(o + 1, last), q = Math.min(o + 2, last), t = Math.min(o + 3, last);
        const wo = o * inside, wp = p * inside, wq = q * inside, wt = t * inside;
        let ro = b[o], rp = b[p], rq = b[q], rt = b[t], so = ro, sp = rp, sq = rq, st = rt;
        for (let i = 0; i < inside; i++) {
          const u = x[xr + i], v = x[xs + i], k = w[wo + i], l = w[wp + i], m = w[wq + i], n = w[wt + i];
          ro += u * k; rp += u * l; rq += u * m; rt += u * n;
          so += v * k; sp += v * l; sq += v * m; st += v * n;
        }
        const yr = r * outside, ys = s * outside;
        y[yr + o] = ro; y[yr + p] = rp; y[yr + q] = rq; y[yr + t] = rt;
        y[ys + o] = so; y[ys + p] = sp; y[ys + q] = sq; y[ys + t] = st;
      }
    }
    return y;
  }

  // A convolution with windows of 3 by 3: each place's window as a row, zeros beyond the border.
  function convolve(conv, x, height, width) {
    const c = conv.inside / 9, lines = x.length / (width * c), windows = new Numbers(9 * x.length);
    for (let line = 0, to = 0; line < lines; line++) {
      for (let column = 0; column < width; column++) {
        const from = Math.max(column - 1, 0), end = Math.min(column + 2, width), skipped = column ? 0 : c;
        for (let dy = -1; dy <= 1; dy++, to += 3 * c) {
          const y = line % height + dy, start = (line + dy) * width;
          if (y >= 0 && y < height) windows.set(x.subarray((start + from) * c, (start + end) * c), to + skipped);
        }
      }
    }
    return apply(conv, windows);
  }

  // Mean 0 and variance 1 within each group of channels, over all places of an example; then a scale and a shift, if it has them.
  function normalise(x, channels, places, groups, affine) {
    const y = new Numbers(x.length), size = places * channels, per = channels / groups;
    for (let start = 0; start < x.length; start += size) {
      for (let c = 0; c < channels; c += per) {
        let sum = 0, squares = 0;
        for (let p = start + c; p < start + size; p += channels) for (let i = p; i < p + per; i++) sum += x[i];
        const mean = sum / (places * per);
        for (let p = start + c; p < start + size; p += channels) for (let i = p; i < p + per; i++) squares += (x[i] - mean) ** 2;
        const rate = 1 / Math.sqrt(squares / (places * per) + 1e-5);
        for (let i = c; i < c + per; i++) {
          const factor = rate * (affine ? affine.w[i] : 1), shift = affine ? affine.b[i] : 0;
          for (let p = start + i; p < start + size; p += channels) y[p] = (x[p] - mean) * factor + shift;
        }
      }
    }
    return y;
  }

  const norm = (at, name) => ({ w: new Numbers(at(`${name}.weight`).data), b: new Numbers(at(`${name}.bias`).data) });
  const rowNorm = (x, affine) => normalise(x, affine.w.length, 1, 1, affine); // LayerNorm
  const groupNorm = (x, places, affine) => normalise(x, affine.w.length, places, 8, affine);

  // The functions from here to `add` change the x that they are given: it is always one that nobody else needs.
  function silu(x) {
    for (let i = 0; i < x.length; i++) x[i] /= 1 + Math.exp(-x[i]);
    return x;
  }

  // x (1 + scale) + shift, the two together in one row for all rows of x, or for as many neighbours each.
  function modulate(x, both, channels) {
    const share = x.length / (both.length / 2);
    for (let i = 0; i < x.length; i++) {
      const c = i % channels, row = Math.floor(i / channels / share) * 2 * channels;
      x[i] = x[i] * (1 + both[row + c]) + both[row + channels + c];
    }
    return x;
  }

  function add(x, y) {
    for (let i = 0; i < x.length; i++) x[i] += y[i];
    return x;
  }

  // The columns of rows of `width` numbers, in as many equal parts.
  function split(x, width, parts) {
    const part = width / parts, at = (i, start) => Math.floor(i / part) * width + start + i % part;
    return range(parts).map(k => new Numbers(x.length / parts).map((_, i) => x[at(i, k * part)]));
  }

  // Two sets of features side by side.
  function join(x, xWidth, y, yWidth) {
    const both = new Numbers(x.length + y.length), width = xWidth + yWidth;
    for (let row = 0; row < both.length / width; row++) {
      both.set(x.subarray(row * xWidth, (row + 1) * xWidth), row * width);
      both.set(y.subarray(row * yWidth, (row + 1) * yWidth), row * width + xWidth);
    }
    return both;
  }

  // Each query takes from all values what its key is like: softmax(q k^T / sqrt(d)) v, in some heads. Rows of `width` features.
  function attend(q, k, v, width, heads) {
    const y = new Numbers(q.length), d = width / heads, m = k.length / width, share = new Numbers(m);
    for (let at = 0; at < q.length; at += d) { // one query's features in one head
      const head = at % width;
      let most = -Infinity, sum = 0;
      for (let j = 0; j < m; j++) {
        let like = 0;
        for (let i = 0; i < d; i++) like += q[at + i] * k[j * width + head + i];
        share[j] = like / Math.sqrt(d);
        most = Math.max(most, share[j]);
      }
      for (let j = 0; j < m; j++) sum += share[j] = Math.exp(share[j] - most);
      for (let j = 0; j < m; j++) for (let i = 0; i < d; i++) y[at + i] += share[j] / sum * v[j * width + head + i];
    }
    return y;
  }

  // The same for the parts of x: one example after the other.
  function oneByOne(x, n, f) {
    const y = new Numbers(x.length), size = x.length / n;
    for (let i = 0; i < n; i++) y.set(f(x.subarray(i * size, (i + 1) * size), i), i * size);
    return y;
  }

  // Half the sides, by the mean of four places.
  function shrink(x, width, c) {
    const y = new Numbers(x.length / 4);
    quarters(x.length / (width * c), width, (fine, coarse) => {
      for (let i = 0; i < c; i++) y[coarse * c + i] += x[fine * c + i] / 4;
    });
    return y;
  }

  // Twice the sides, by four copies of each place.
  function enlarge(x, width, c) {
    const y = new Numbers(4 * x.length);
    quarters(2 * x.length / (width * c), 2 * width, (fine, coarse) => y.set(x.subarray(coarse * c, (coarse + 1) * c), fine * c));
    return y;
  }

  // Calls f for each place of some lines, and the one that it is a quarter of.
  function quarters(lines, width, f) {
    for (let y = 0; y < lines; y++) for (let x = 0; x < width; x++) f(y * width + x, (y >> 1) * (width >> 1) + (x >> 1));
  }

  // From (n, channels, places) to (n, places, channels); and back, with the two swapped.
  function channelsLast(x, channels, places, Kind = Numbers) {
    const y = new Kind(x.length), size = channels * places;
    for (let i = 0; i < x.length; i++) {
      const inside = i % size, c = Math.floor(inside / places);
      y[i - inside + (inside - c * places) * channels + c] = x[i];
    }
    return y;
  }

  const channelsFirst = (x, channels, places) => channelsLast(x, places, channels, Float32Array);

  // ---- Networks (nets.py, guidance.py, text.py, latent.py) ------------------------------------------------------------------

  // The step t as sines and cosines, rounded on the way as PyTorch's 32 bits are: the angle is up to T.
  function timeEmbedding(t, size) {
    const half = size / 2, fround = Math.fround, found = new Numbers(size);
    for (let i = 0; i < half; i++) {
      const angle = fround(t * fround(Math.exp(fround(fround(fround(-Math.log(10000)) * i) / half))));
      found[i] = Math.sin(angle);
      found[half + i] = Math.cos(angle);
    }
    return found;
  }

  // What every block is told: about t, and about a condition that is one vector. One row for all, or one for each example.
  function timeNetwork(at, size) {
    const inner = layer(at, "time.mlp.0"), outer = layer(at, "time.mlp.2");
    const fromCondition = at("time.from_condition.weight") && layer(at, "time.from_condition");
    return (t, features) => {
      const time = silu(apply(outer, silu(apply(inner, timeEmbedding(t, size)))));
      return features ? apply(fromCondition, features).map((value, i) => value + time[i % size]) : time;
    };
  }

  // What each of n examples is told: c is one thing for all, or a list of n, and null is nothing.
  function forEach(c, n, isOne) {
    if (c === null || c === undefined || isOne(c)) return Array(n).fill(c ?? null);
    if (c.length !== n) throw new Error(`c has ${c.length} conditions, expected one, or one for each of ${n} examples`);
    return Array.from(c);
  }

  // Labels: the features of each label, (n, size), of which one row is enough if all are the same.
  function labels(at, { classes, size }) {
    const { data } = at("embedding.weight");
    return (c, n) => {
      const each = forEach(c, n, one => typeof one === "number").map(label => label ?? classes);
      const wrong = each.find(label => !Number.isInteger(label) || label < 0 || label > classes);
      if (wrong !== undefined) throw new Error(`c = ${wrong} is outside 0..${classes - 1}`);
      const rows = each.every(label => label === each[0]) ? each.slice(0, 1) : each, features = new Numbers(rows.length * size);
      rows.forEach((label, i) => features.set(data.subarray(label * size, (label + 1) * size), i * size));
      return features;
    };
  }

  // Text: the features of the words of one caption, (length, size).
  function textNetwork(at, { size, layers }) {
    const embedding = at("embedding.weight").data, position = at("position").data, last = norm(at, "norm");
    const blocks = range(layers).map(i => `layers.${i}`).map(name => ({
      norm1: norm(at, `${name}.norm1`), norm2: norm(at, `${name}.norm2`), qkv: layer(at, `${name}.qkv`),
      out: layer(at, `${name}.out`), inner: layer(at, `${name}.mlp.0`), outer: layer(at, `${name}.mlp.2`),
    }));
    return tokens => {
      let h = Numbers.from(position, (value, i) => value + embedding[tokens[Math.floor(i / size)] * size + i % size]);
      for (const { norm1, norm2, qkv, out, inner, outer } of blocks) {
        const [q, k, v] = split(apply(qkv, rowNorm(h, norm1)), 3 * size, 3);
        h = add(apply(out, attend(q, k, v, size, 4)), h);
        h = add(apply(outer, silu(apply(inner, rowNorm(h, norm2)))), h);
      }
      return rowNorm(h, last);
    };
  }

  // A caption as numbers, in which capitals, commas and full stops do not matter; the errors are the package's.
  function tokensOf(caption, { words, length }) {
    const found = caption.toLowerCase().replace(/[,.]/g, " ").split(/\s+/).filter(Boolean);
    if (found.length > length) throw new Error(`caption = '${caption}' has ${found.length} words, expected at most ${length}`);
    for (const word of found.filter(word => !words.includes(word))) {
      const near = words.map(known => [likeness(known, word), known]).filter(([like]) => like >= 0.6);
      near.sort((a, b) => b[0] - a[0] || (a[1] < b[1] ? 1 : -1));
      const hint = near.length ? `the nearest known word is '${near[0][1]}'` : `the known words are ${words.join(", ")}`;
      throw new Error(`caption = '${caption}' has the unknown word '${word}': ${hint}`);
    }
    return [...found.map(word => words.indexOf(word) + 1), ...Array(length - found.length).fill(0)];
  }

  // How much of two words is the same, as Python's difflib counts: the longest common piece, and again left and right of it.
  function likeness(a, b) {
    const common = (a, b) => {
      let [size, at, from] = [0, 0, 0];
      for (let i = 0; i < a.length; i++) {
        for (let j = 0; j < b.length; j++) {
          let n = 0;
          while (i + n < a.length && a[i + n] === b[j + n]) n++;
          if (n > size) [size, at, from] = [n, i, j];
        }
      }
      return size && size + common(a.slice(0, at), b.slice(0, from)) + common(a.slice(at + size), b.slice(from + size));
    };
    return 2 * common(a, b) / (a.length + b.length);
  }

  // A network for points: (n, dim), t and what it is told to (n, dim).
  function mlp(at, { width, depth }, condition) {
    const timeOf = timeNetwork(at, 64), first = layer(at, "first"), last = layer(at, "last");
    const blocks = range(depth).map(i => `blocks.${i}`).map(name => ({
      affine: norm(at, `${name}.norm`), fromTime: layer(at, `${name}.from_time`),
      inner: layer(at, `${name}.inner`), outer: layer(at, `${name}.outer`),
    }));
    return (x, t, c) => {
      const time = timeOf(t, condition && condition(c, x.length / first.inside));
      let h = apply(first, new Numbers(x));
      for (const { affine, fromTime, inner, outer } of blocks) {
        h = add(apply(outer, silu(apply(inner, modulate(rowNorm(h, affine), apply(fromTime, time), width)))), h);
      }
      return new Float32Array(apply(last, silu(h)));
    };
  }

  function pictureBlock(at, name) {
    const norm1 = norm(at, `${name}.norm1`), fromTime = layer(at, `${name}.from_time`);
    const conv1 = layer(at, `${name}.conv1`), conv2 = layer(at, `${name}.conv2`);
    const skip = at(`${name}.skip.weight`) && layer(at, `${name}.skip`);
    return (h, height, width, time) => {
      let f = convolve(conv1, silu(groupNorm(h, height * width, norm1)), height, width);
      f = modulate(normalise(f, conv1.outside, height * width, 8), apply(fromTime, time), conv1.outside);
      return add(convolve(conv2, silu(f), height, width), skip ? apply(skip, h) : h);
    };
  }

  // Each place of a picture takes from all places what is like it.
  function selfAttention(at, name) {
    const affine = norm(at, `${name}.norm`), qkv = layer(at, `${name}.qkv`), out = layer(at, `${name}.out`), width = out.inside;
    return (h, places, n) => add(apply(out, oneByOne(h, n, part => {
      const [q, k, v] = split(apply(qkv, groupNorm(part, places, affine)), 3 * width, 3);
      return attend(q, k, v, width, 1);
    })), h);
  }

  // Each place looks at the words; their keys and values, `ready`, are the same in every step.
  function crossAttention(at, name) {
    const affine = norm(at, `${name}.norm`), [q, kv, out] = ["q", "kv", "out"].map(part => layer(at, `${name}.${part}`));
    const width = q.inside;
    const ready = words => split(apply(kv, words), 2 * width, 2);
    const look = (h, places, captions) => add(apply(out, oneByOne(h, captions.length, (part, i) =>
      attend(apply(q, groupNorm(part, places, affine)), ...captions[i], width, 4))), h);
    return { ready, look };
  }

  // A network for pictures: (n, channels, height, width), t and what it is told to the same shape. `condition` gives the features
  // of labels; a Text the network reads itself, and keeps what it has read.
  function unet(at, { channels, width, levels, condition: described }, [, height, side], condition) {
    const factor = 2 ** (levels - 1);
    if (height % factor || side % factor) throw new Error(`the sides ${height} and ${side} are not divisible by ${factor}`);
    const timeOf = timeNetwork(at, 2 * width), first = layer(at, "first"), middle = selfAttention(at, "middle");
    const down = range(levels).map(i => pictureBlock(at, `down.${i}`)), up = range(levels).map(i => pictureBlock(at, `up.${i}`));
    const last = norm(at, "last.0"), answer = layer(at, "last.2"), widths = range(levels).map(i => width * 2 ** i);
    const text = at("heed.0.q.weight") ? textNetwork(name => at(`condition.${name}`), described.arguments) : null;
    const heed = text ? range(levels + 1).map(i => crossAttention(at, `heed.${i}`)) : [];
    const nothing = text && Array(described.arguments.length).fill(0), read = new Map();

    // For each caption what every `heed` needs of it.
    function captions(c, n) {
      return forEach(c, n, one => typeof one[0] === "number").map(tokens => {
        const key = (tokens ?? nothing).join();
        if (!read.has(key)) {
          const words = text(tokens ?? nothing);
          if (read.size > 99) read.clear();
          read.set(key, heed.map(({ ready }) => ready(words)));
        }
        return read.get(key);
      });
    }

    return (x, t, c) => {
      const n = x.length / (channels * height * side), told = text ? captions(c, n) : null;
      const time = timeOf(t, text ? null : condition && condition(c, n));
      const look = (i, h, places) => text ? heed[i].look(h, places, told.map(caption => caption[i])) : h;
      let [h, y, z] = [convolve(first, channelsLast(x, channels, height * side), height, side), height, side];
      const found = [];
      for (let level = 0; level < levels; level++) {
        if (level) [h, y, z] = [shrink(h, z, widths[level - 1]), y / 2, z / 2];
        h = look(level, down[level](h, y, z, time), y * z);
        found.push(h);
      }
      h = look(levels, middle(h, y * z, n), y * z);
      for (let level = levels - 1; level >= 0; level--) {
        h = up[level](join(h, widths[level], found[level], widths[level]), y, z, time);
        if (level) [h, y, z] = [enlarge(h, z, widths[level - 1]), 2 * y, 2 * z];
      }
      return channelsFirst(convolve(answer, silu(groupNorm(h, y * z, last)), y, z), channels, y * z);
    };
  }

  // The autoencoder's way back: codes (n, code, height, width) to pictures (n, channels, 8 height, 8 width).
  function decoder(at, { channels, code }, [, height, width]) {
    const part = i => `decoder.${i}`, [first, smaller, last] = [0, 3, 8].map(i => layer(at, part(i))), affine = norm(at, part(6));
    const block = name => {
      const halves = ["inner", "outer"].map(half => [norm(at, `${name}.${half}.0`), layer(at, `${name}.${half}.2`)]);
      return (h, y, x) => add(halves.reduce((f, [affine, conv]) => convolve(conv, silu(groupNorm(f, y * x, affine)), y, x), h), h);
    };
    const [coarse, fine, finer] = [1, 4, 5].map(i => block(part(i))), shift = at("shift").data, scale = at("scale").data[0];
    return z => {
      const codes = channelsLast(z, code, height * width).map((value, i) => value * scale + shift[i % code]);
      let h = coarse(convolve(first, codes, height, width), height, width);
      const [y, x] = [2 * height, 2 * width];
      h = convolve(smaller, enlarge(h, width, first.outside), y, x);
      h = silu(groupNorm(finer(fine(h, y, x), y, x), y * x, affine));
      return unshuffled(convolve(last, h, y, x), channels, y, x);
    };
  }

  // Each place's features become 4 by 4 pixels.
  function unshuffled(h, channels, height, width) {
    const picture = new Float32Array(h.length);
    for (let i = 0; i < h.length; i++) {
      const x = i % (4 * width), line = (i - x) / (4 * width), y = line % (4 * height), plane = (line - y) / (4 * height);
      const c = plane % channels, place = ((plane - c) / channels * height + (y >> 2)) * width + (x >> 2);
      picture[i] = h[(place * channels + c) * 16 + y % 4 * 4 + x % 4];
    }
    return picture;
  }

  // ---- Models (checkpoint.py, ddpm.py, latent_ddpm.py) ----------------------------------------------------------------------

  // The tensors by name: they are stored one after the other, as numbers of 16 bits in base64.
  function unpacked(tensors, data) {
    const bytes = atob(data), found = new Map();
    let at = 0;
    for (const [name, shape] of tensors) {
      const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
      for (let i = 0; i < values.length; i++, at += 2) values[i] = half(bytes.charCodeAt(at) | bytes.charCodeAt(at + 1) << 8);
      found.set(name, { shape, data: values });
    }
    if (at !== bytes.length) throw new Error(`data has ${bytes.length} bytes, expected ${at}`);
    return found;
  }

  // A number of 16 bits: a sign, 5 bits of an exponent, 10 of a fraction.
  function half(bits) {
    const exponent = bits >> 10 & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
  }

  // A trained model from its description and its weights.
  function load({ description, example, tensors, data }) {
    const stored = unpacked(tensors, data), under = prefix => name => stored.get(prefix + name);
    if (description.class === "DDPM") return ddpmOf(under("model."), description.arguments, example);
    if (description.class !== "LatentDDPM") throw new Error(`${description.class} is neither a DDPM nor a LatentDDPM`);
    const { autoencoder, ddpm } = description.arguments;
    const decode = decoder(under("autoencoder."), autoencoder.arguments, example);
    return { ...ddpmOf(under("ddpm.model."), ddpm.arguments, example), decode };
  }

  function ddpmOf(at, { model, schedule: { arguments: { beta } }, predict, variance, clip, shift, scale }, example) {
    const told = model.arguments.condition, size = example.reduce((a, b) => a * b, 1);
    const features = told?.class === "Labels" ? labels(name => at(`condition.${name}`), told.arguments) : null;
    const network = model.class === "MLP" ? mlp(at, model.arguments, features) : unet(at, model.arguments, example, features);
    const answer = (x, t, c = null) => {
      if (x.length % size) throw new Error(`x has ${x.length} numbers, expected a multiple of ${size}`);
      if (c !== null && !told) throw new Error("c is given, but the network knows no condition");
      return network(x, t, c);
    };
    const spread = (value, missing) => stretched(value ?? missing, example), [by, from] = [spread(scale, 1), spread(shift, 0)];
    const restore = x => x.map((value, i) => from[i % size] + by[i % size] * value); // of what the model draws, the data's units
    const found = { schedule: schedule(beta), predict, variance, clip: clip ?? null, size, example, answer, restore };
    if (told?.class !== "Text") return found;
    return { ...found, words: told.arguments.words, tokens: caption => tokensOf(caption, told.arguments) };
  }

  // A number, or lists in lists, for each number of an example: what is missing on the left, or is one where there are several,
  // is repeated, as PyTorch does.
  function stretched(value, shape) {
    const depth = value => Array.isArray(value) ? 1 + depth(value[0]) : 0, [side, ...rest] = shape;
    if (side === undefined) return [value];
    const whole = depth(value) === shape.length;
    return range(side).flatMap(i => stretched(whole ? value[value.length === 1 ? 0 : i] : value, rest));
  }

  // A model that has been told c, as a function of x and t: null + guidance (told - null), on its raw answers. Eq. (7.5)
  // c, and negative in the place of nothing, are one for all rows, or a list with one for each; null is nothing.
  function told(model, c = null, guidance = 1, negative = null) {
    return (x, t) => {
      if (guidance === 1 || c === null) return model.answer(x, t, c);
      const nothing = model.answer(x, t, negative);
      if (guidance === 0) return nothing;
      return model.answer(x, t, c).map((answer, i) => nothing[i] + guidance * (answer - nothing[i]));
    };
  }

  // ---- Samplers (sampling.py, _walk.py) -------------------------------------------------------------------------------------

  // The steps of a sampler: step i leads from t = times[i + 1] to s = times[i]. How much of x_t each keeps, and the standard
  // deviation of its fresh noise, null if there is none, say all; the rest are the numbers by which `move` and `moveByEps` reckon.
  function planOf(schedule, times, keep, fresh, share) {
    const { alphaBar, lost } = schedule, steps = range(keep.length);
    return {
      schedule, times, keep, fresh,
      come: steps.map(i => Math.sqrt(alphaBar[times[i]]) - keep[i] * Math.sqrt(alphaBar[times[i + 1]])), // of x_0
      grow: steps.map(i => Math.exp(-logRatio(schedule, times[i], times[i + 1]) / 2)),
      take: steps.map(i => share ? share[i] : Math.sqrt(lost[times[i + 1]])), // of eps
      back: share ? null : steps.map(i => keep[i] * Math.sqrt(lost[times[i + 1]])),
    };
  }

  // log(alphaBar_t / alphaBar_s), from which 1 minus the ratio follows without cancellation.
  function logRatio({ beta }, s, t) {
    let sum = 0;
    for (let step = s + 1; step <= t; step++) sum += Math.log1p(-beta[step]);
    return sum;
  }

  // Every step, from T to 0: Algorithm 2. `variance` is "beta" or "beta_tilde", whose first is 0 and is never needed. Eq. (6.1)
  function ancestral(schedule, variance = "beta") {
    const { T, beta, alpha, lost, betaTilde } = schedule, steps = range(T).map(i => i + 1);
    const keep = steps.map(t => Math.sqrt(alpha[t]) * lost[t - 1] / lost[t]); // Eq. (2.19)
    const fresh = steps.map(t => Math.sqrt(variance === "beta" || T === 1 ? beta[t] : betaTilde[Math.max(t, 2)]));
    return planOf(schedule, range(T + 1), keep, fresh, steps.map(t => beta[t] / Math.sqrt(lost[t])));
  }

  // Fewer steps: Eqs. (6.7) and (6.9). With eta = 0 only the start is random.
  function ddim(schedule, steps = 50, eta = 0) {
    const times = ddimTimes(schedule.T, steps), noise = times.map(t => Math.sqrt(schedule.lost[t]));
    const fresh = range(steps).map(i =>
      eta * noise[i] / noise[i + 1] * Math.sqrt(-Math.expm1(logRatio(schedule, times[i], times[i + 1]))));
    const keep = range(steps).map(i => Math.sqrt(Math.max(noise[i] ** 2 - fresh[i] ** 2, 0)) / noise[i + 1]);
    return planOf(schedule, times, keep, eta ? fresh : null, null);
  }

  const ddimTimes = (T, steps) => range(steps + 1).map(i => Math.floor(T * i / steps));

  // The x_0 that an answer stands for: Eqs. (2.21) and (4.14).
  function seen({ schedule: { alphaBar, lost }, predict, clip }, x, t, answer) {
    const signal = Math.sqrt(alphaBar[t]), noise = Math.sqrt(lost[t]);
    const x0 = predict === "eps" ? answer.map((eps, i) => (x[i] - noise * eps) / signal)
      : predict === "v" ? answer.map((v, i) => signal * x[i] - noise * v) : answer.slice();
    return clip ? x0.map(value => Math.min(Math.max(value, clip[0]), clip[1])) : x0;
  }

  // Step i of a plan, from the x_0 that the model sees. z is the fresh noise, or null; the last step adds none.
  function move({ keep, come, fresh }, i, x, x0, z) {
    const sigma = fresh && z && i ? fresh[i] : 0;
    return x.map((value, j) => keep[i] * value + come[i] * x0[j] + (sigma && sigma * z[j]));
  }

  // The same from the noise that it sees: where little signal is left, x_0 may be huge, and nearly cancel.
  function moveByEps({ grow, take, back, fresh }, i, x, eps, z) {
    const sigma = fresh && z && i ? fresh[i] : 0, more = back ? back[i] : 0;
    return x.map((value, j) => (value - take[i] * eps[j]) * grow[i] + more * eps[j] + (sigma && sigma * z[j]));
  }

  // Step i from the raw answer of a model: by eps where it predicts that and nothing is clipped, else by x_0.
  function step(plan, model, i, x, answer, z) {
    if (model.predict === "eps" && !model.clip) return moveByEps(plan, i, x, answer, z);
    return move(plan, i, x, seen(model, x, plan.times[i + 1], answer), z);
  }

  // From x_T to x_0, with `answer(x, t)`. `each(i, t, x)` sees every state, from x_T, where t = times[i], down to x_0.
  // Of the model it needs only `schedule`, `predict` and `clip`.
  function walk(plan, model, answer, x, random, each = () => {}) {
    const { times, fresh } = plan;
    for (let i = times.length - 2; i >= 0; i--) {
      each(i + 1, times[i + 1], x);
      x = step(plan, model, i, x, answer(x, times[i + 1]), fresh && i ? random.normals(x.length) : null);
    }
    each(0, 0, x);
    return model.restore ? model.restore(x) : x;
  }

  // ---- A distance between samples (metrics.py) ------------------------------------------------------------------------------

  // The sliced Wasserstein-2 distance of two sets of as many points, rows of d numbers, seen from the package's own directions.
  function slicedWasserstein(x, y, d = 2, directions = 256) {
    const n = x.length / d, normal = torchNormals(d * directions);
    let sum = 0;
    for (let k = 0; k < directions; k++) {
      const side = range(d).map(j => normal[j * directions + k]), length = Math.hypot(...side);
      const seenFrom = points => {
        const along = new Float64Array(n);
        for (let i = 0; i < n; i++) for (let j = 0; j < d; j++) along[i] += points[i * d + j] * side[j] / length;
        return along.sort();
      };
      const a = seenFrom(x), b = seenFrom(y);
      for (let i = 0; i < n; i++) sum += (a[i] - b[i]) ** 2;
    }
    return Math.sqrt(sum / (n * directions));
  }

  // What torch.randn draws from a generator with the seed 0, for 16 numbers and more: the Mersenne twister, and Box and Muller on
  // blocks of 16, of which the last one is drawn anew where the number is not a multiple of 16.
  function torchNormals(count) {
    const state = new Int32Array(624);
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ state[i - 1] >>> 30) + i;
    let at = 624;
    const uniform = () => {
      if (at === 624) {
        for (let i = 0; i < 624; i++) {
          const y = state[i] & 0x80000000 | state[(i + 1) % 624] & 0x7fffffff;
          state[i] = state[(i + 397) % 624] ^ y >>> 1 ^ (y & 1 ? 0x9908b0df : 0);
        }
        at = 0;
      }
      let y = state[at++];
      y ^= y >>> 11;
      y ^= y << 7 & 0x9d2c5680;
      y ^= y << 15 & 0xefc60000;
      return ((y ^ y >>> 18) & 0xffffff) / 2 ** 24;
    };
    const found = Float64Array.from({ length: count }, uniform);
    const pair = start => {
      for (let i = start; i < start + 8; i++) {
        const radius = Math.sqrt(-2 * Math.log(1 - found[i])), angle = 2 * Math.PI * found[i + 8];
        [found[i], found[i + 8]] = [radius * Math.cos(angle), radius * Math.sin(angle)];
      }
    };
    for (let start = 0; start + 16 <= count; start += 16) pair(start);
    if (count % 16) {
      found.set(range(16).map(uniform), count - 16);
      pair(count - 16);
    }
    return found;
  }

  return {
    random, gaussian, schedule, linear, cosine, lognormal, mix, mixture, ring, load, told, ancestral, ddim, ddimTimes, seen, move,
    moveByEps, step, walk, slicedWasserstein,
  };
};
self.tinyddpm = Object.assign(self.tinyddpm || {}, self.tinyddpmEngine());
