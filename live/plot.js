// What live figures are made of: a stage with panels to draw on, and with sliders, choices and buttons that say what they are.
// A figure is a function of a stage; it is told to draw whenever one of its controls, its size or the colours of the page change.
(() => {
  "use strict";
  // The colours of the book's figures, after Okabe and Ito; on a dark page those that are dark are lighter.
  const LIGHT = { data: "#0072B2", noise: "#E69F00", posterior: "#009E73", learned: "#D55E00", exact: "#000000", other: "#CC79A7",
                  ink: "#222832", muted: "#5a6270", paper: "#ffffff" };
  const DARK = { data: "#56B4E9", noise: "#F0B429", posterior: "#2BC79B", learned: "#FF8A4C", exact: "#ffffff", other: "#E5A5C8",
                 ink: "#ced6dd", muted: "#a3adb8", paper: "#121212" };
  const quiet = matchMedia("(prefers-reduced-motion: reduce)");
  const isDark = () => document.documentElement.dataset.theme === "dark";

  function made(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  // Round numbers between two ends, about as many as asked for, at 1, 2 or 5 times a power of ten.
  function ticks(low, high, many) {
    const raw = (high - low) / many, power = 10 ** Math.floor(Math.log10(raw));
    const gap = power * [1, 2, 5, 10].find(factor => factor * power >= raw * 0.999);
    const found = [];
    for (let i = Math.ceil(low / gap - 1e-9); i * gap <= high + gap * 1e-9; i++) found.push(i * gap);
    return found;
  }
  // The same on an axis that may be logarithmic, where they are powers of ten; each with its name.
  function marks([low, high], log, many) {
    if (!log) return ticks(low, high, many).map(value => [value, short(Math.abs(value) < (high - low) / 1e6 ? 0 : value)]);
    const powers = ticks(Math.ceil(Math.log10(low)), Math.log10(high), 4).filter(Number.isInteger);
    return powers.map(power => [10 ** power, Math.abs(power) > 3 ? `1e${short(power)}` : short(10 ** power)]);
  }
  const short = number => String(parseFloat(number.toPrecision(3))).replace("-", "−");
  // A share in percent; none that is above 0 is called 0.
  function percent(share) {
    if (share > 0 && share < 1e-5) return "less than 0.001\u00a0%";
    return `${(100 * share).toFixed(share >= 0.1 || share === 0 ? 0 : share >= 0.001 ? 1 : 3)}\u00a0%`;
  }

  // One picture with coordinates: x to the right and y upwards. `log` makes y logarithmic, `logX` x; `frame: false` leaves out the
  // axes; `marks`, [[x, text], ...], stand below the x axis in the place of round numbers.
  class Panel {
    constructor(stage, { label, title = "", x = [0, 1], y = [0, 1], xLabel = "", yLabel = "", aspect = 0.75, frame = true,
                         log = false, logX = false, marks = null, least = 160, most = 900 }) {
      Object.assign(this, { stage, title, x, y, xLabel, yLabel, aspect, frame, log, logX, marks });
      this.canvas = made("canvas", { role: "img", "aria-label": label });
      this.box = made("div", { class: "live-panel", style: `flex: 1 1 ${least}px; max-width: ${most}px` }, this.canvas);
      this.pen = this.canvas.getContext("2d");
    }
    // What a screen reader says of the picture.
    describe(text) { this.canvas.setAttribute("aria-label", text); }
    begin() {
      const width = Math.max(40, this.box.clientWidth), inner = width - this.left - this.right;
      const height = Math.round(inner * this.aspect) + this.above + this.below;  // so that with aspect 1 a circle is round
      const dense = Math.min(devicePixelRatio || 1, 3);
      if (this.canvas.width !== Math.round(width * dense) || this.canvas.height !== Math.round(height * dense)) {
        this.canvas.width = Math.round(width * dense);
        this.canvas.height = Math.round(height * dense);
        this.canvas.style.height = `${height}px`;
      }
      Object.assign(this, { width, height });
      this.pen.setTransform(dense, 0, 0, dense, 0, 0);
      this.pen.clearRect(0, 0, width, height);
      if (this.title) this.write(this.title, this.left + inner / 2, 12, { align: "center", color: "ink" });
      if (this.frame) this.axes();
    }
    get left() { return this.frame ? (this.yLabel ? 48 : 34) + (this.log ? 8 : 0) : 0; }
    get above() { return this.title ? 22 : 8; }
    get below() { return this.frame ? (this.xLabel ? 36 : 22) : 2; }
    get right() { return this.frame ? 15 : 0; }  // for half of the last number below
    // From coordinates to pixels.
    at(x) {
      const [low, high, value] = this.logX ? [...this.x, Math.max(x, 1e-300)].map(Math.log10) : [...this.x, x];
      return this.left + (value - low) / (high - low) * (this.width - this.left - this.right);
    }
    up(y) {
      const [low, high, value] = this.log ? [...this.y, Math.max(y, 1e-300)].map(Math.log10) : [...this.y, y];
      return this.height - this.below - (value - low) / (high - low) * (this.height - this.above - this.below);
    }
    write(text, px, py, { align = "left", color = "muted", size = 12 } = {}) {
      Object.assign(this.pen, { fillStyle: this.stage.color(color), textAlign: align, textBaseline: "middle",
                                font: `${size}px system-ui, sans-serif` });
      this.pen.fillText(text, px, py);
    }
    axes() {
      const { pen } = this, foot = this.height - this.below, end = this.width - this.right;
      pen.strokeStyle = this.stage.color("muted");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(this.left, this.above); pen.lineTo(this.left, foot); pen.lineTo(end, foot);
      for (const [x, name] of this.marks || marks(this.x, this.logX, Math.max(2, (end - this.left) / 70))) {
        pen.moveTo(this.at(x), foot); pen.lineTo(this.at(x), foot + 4);
        this.write(name, Math.min(this.at(x), this.width - 3.5 * name.length), foot + 12, { align: "center", size: 11 });
      }
      for (const [y, name] of marks(this.y, this.log, Math.max(2, (foot - this.above) / 45))) {
        pen.moveTo(this.left - 4, this.up(y)); pen.lineTo(this.left, this.up(y));
        this.write(name, this.left - 6, this.up(y), { align: "right", size: 11 });
      }
      pen.stroke();
      if (this.xLabel) this.write(this.xLabel, (this.left + end) / 2, this.height - 8, { align: "center" });
      if (this.yLabel) {
        pen.save();
        pen.translate(8, (this.above + foot) / 2);
        pen.rotate(-Math.PI / 2);
        this.write(this.yLabel, 0, 0, { align: "center" });
        pen.restore();
      }
    }
    // All that follows stays within the axes.
    inside(draw) {
      this.pen.save();
      this.pen.beginPath();
      this.pen.rect(this.left, this.above, this.width - this.left - this.right, this.height - this.above - this.below);
      this.pen.clip();
      draw(this.pen);
      this.pen.restore();
    }
    curve(xs, ys, color, { width = 2, dash = [], alpha = 1 } = {}) {
      this.inside(pen => {
        Object.assign(pen, { strokeStyle: this.stage.color(color), lineWidth: width, globalAlpha: alpha, lineJoin: "round" });
        pen.setLineDash(dash);
        pen.beginPath();
        for (let i = 0; i < xs.length; i++) pen.lineTo(this.at(xs[i]), this.up(ys[i]));
        pen.stroke();
      });
    }
    // What lies between two curves.
    area(xs, lows, highs, color, { alpha = 0.5 } = {}) {
      this.inside(pen => {
        Object.assign(pen, { fillStyle: this.stage.color(color), globalAlpha: alpha });
        pen.beginPath();
        for (let i = 0; i < xs.length; i++) pen.lineTo(this.at(xs[i]), this.up(highs[i]));
        for (let i = xs.length - 1; i >= 0; i--) pen.lineTo(this.at(xs[i]), this.up(lows[i]));
        pen.fill();
      });
    }
    // Bars that stand side by side: heights over edges, one more of these. `base` is where they stand, each or all.
    bars(edges, heights, color, { alpha = 0.5, gap = 0, base = this.y[0] } = {}) {
      this.inside(pen => {
        Object.assign(pen, { fillStyle: this.stage.color(color), globalAlpha: alpha });
        for (let i = 0; i < heights.length; i++) {
          const a = this.at(edges[i]) + gap / 2, b = this.at(edges[i + 1]) - gap / 2;
          const top = this.up(heights[i]), foot = this.up(base[i] ?? base);
          pen.fillRect(a, Math.min(top, foot), b - a, Math.abs(foot - top));
        }
      });
    }
    // Points from a flat list x, y, x, y, ...
    points(flat, color, { radius = 1.6, alpha = 0.6 } = {}) {
      this.inside(pen => {
        Object.assign(pen, { fillStyle: this.stage.color(color), globalAlpha: alpha });
        for (let i = 0; i < flat.length; i += 2) {
          pen.beginPath();
          pen.arc(this.at(flat[i]), this.up(flat[i + 1]), radius, 0, 7);
          pen.fill();
        }
      });
    }
    circle(x, y, radius, color, { width = 1, dash = [] } = {}) {
      this.inside(pen => {
        Object.assign(pen, { strokeStyle: this.stage.color(color), lineWidth: width });
        pen.setLineDash(dash);
        pen.beginPath();
        const wide = Math.abs(this.at(x + radius) - this.at(x)), high = Math.abs(this.up(y + radius) - this.up(y));
        pen.ellipse(this.at(x), this.up(y), wide, high, 0, 0, 7);
        pen.stroke();
      });
    }
    arrow(x, y, dx, dy, color, { width = 1.4, alpha = 1 } = {}) {
      this.inside(pen => {
        const [a, b, c, d] = [this.at(x), this.up(y), this.at(x + dx), this.up(y + dy)];
        const turn = Math.atan2(d - b, c - a), head = Math.min(6, Math.hypot(c - a, d - b) / 2);
        Object.assign(pen, { strokeStyle: this.stage.color(color), lineWidth: width, globalAlpha: alpha });
        pen.beginPath();
        pen.moveTo(a, b); pen.lineTo(c, d);
        for (const side of [-0.45, 0.45]) {
          pen.moveTo(c, d);
          pen.lineTo(c - head * Math.cos(turn + side), d - head * Math.sin(turn + side));
        }
        pen.stroke();
      });
    }
    upright(x, color, { width = 1, dash = [4, 3] } = {}) { this.curve([x, x], this.y, color, { width, dash }); }
    level(y, color, { width = 1, dash = [4, 3] } = {}) { this.curve(this.x, [y, y], color, { width, dash }); }
    // A picture of columns x rows over the rectangle x, y, its upper left corner first; `paint(i)` is red, green, blue, opacity.
    image(columns, rows, paint, { x = this.x, y = this.y, smooth = false } = {}) {
      const sheet = new OffscreenCanvas(columns, rows), pixels = new ImageData(columns, rows);
      for (let i = 0; i < columns * rows; i++) pixels.data.set(paint(i), 4 * i);
      sheet.getContext("2d").putImageData(pixels, 0, 0);
      this.inside(pen => {
        pen.imageSmoothingEnabled = smooth;
        pen.imageSmoothingQuality = "high";
        pen.drawImage(sheet, this.at(x[0]), this.up(y[1]), this.at(x[1]) - this.at(x[0]), this.up(y[0]) - this.up(y[1]));
      });
    }
    // A density or the like as depth of one colour: `value(x, y)` between 0 and `most`.
    shade(value, most, color, { columns = 90, rows = 90 } = {}) {
      const [r, g, b] = rgb(this.stage.color(color)), [left, right] = this.x, [low, high] = this.y;
      this.image(columns, rows, i => {
        const x = left + (i % columns + 0.5) / columns * (right - left);
        const y = high - (Math.floor(i / columns) + 0.5) / rows * (high - low);
        return [r, g, b, 255 * Math.min(1, value(x, y) / most)];
      }, { smooth: true });
    }
    // Which colour is what: [[color, text], ...], in the upper right corner or, with `left`, in the left one.
    legend(entries, { left = false } = {}) {
      entries.forEach(([color, text, dash = []], i) => {
        const y = this.above + 9 + 16 * i, { pen } = this;
        pen.font = "12px system-ui, sans-serif";
        const wide = pen.measureText(text).width, right = this.width - this.right - 26 - wide;
        const from = left ? this.left + 10 : Math.max(this.left + 4, right);
        Object.assign(pen, { fillStyle: this.stage.color("paper"), globalAlpha: 0.7 });  // what lies behind does not disturb
        pen.fillRect(from - 3, y - 8, wide + 28, 16);
        pen.globalAlpha = 1;
        Object.assign(pen, { strokeStyle: this.stage.color(color), lineWidth: 3 });
        pen.save();
        pen.setLineDash(dash);
        pen.beginPath(); pen.moveTo(from, y); pen.lineTo(from + 16, y); pen.stroke();
        pen.restore();
        this.write(text, from + 22, y, { color: "ink" });
      });
    }
  }
  const rgb = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));

  // What a figure stands on: panels above, controls below them, and a line that says in words what is shown.
  class Stage {
    constructor(element, label) {
      this.panels = [];
      this.row = made("div", { class: "live-panels" });
      this.bar = made("div", { class: "live-controls" });
      this.line = made("p", { class: "live-says" });
      this.voice = made("p", { class: "visually-hidden", role: "status" });
      const parts = [this.row, this.bar, this.line, this.voice];
      this.node = made("div", { class: "live-stage", role: "group", "aria-label": label }, ...parts);
      element.append(this.node);
      new ResizeObserver(() => this.redraw()).observe(this.row);
      new MutationObserver(() => this.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      addEventListener("pagehide", () => this.stop());
    }
    color(name) { return (isDark() ? DARK : LIGHT)[name] || name; }
    rgb(name) { return rgb(this.color(name)); }
    get quiet() { return quiet.matches; }
    panel(options) {
      const panel = new Panel(this, options);
      this.panels.push(panel);
      this.row.append(panel.box);
      return panel;
    }
    // What draws all panels, once before the next frame however much has changed.
    draw(paint) { this.paint = paint; this.redraw(); }
    redraw() {
      if (this.waiting || !this.paint) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = null;
        this.panels.forEach(panel => panel.begin());
        this.paint();
      });
    }
    // What is shown, in words; read aloud once it has stood still for a moment.
    says(text) {
      this.line.textContent = text;
      clearTimeout(this.saying);
      this.saying = setTimeout(() => { this.voice.textContent = text; }, 700);
    }
    // A slider; `format` writes its value. `values` makes it step through a list.
    slider({ label, min = 0, max = 1, step = 1, value = min, values = null, format = short, change = () => {} }) {
      const steps = values ? { min: 0, max: values.length - 1, step: 1, value: values.indexOf(value) } : { min, max, step, value };
      const input = made("input", { type: "range", ...steps }), output = made("output");
      input.value = steps.value;  // which min and max would have cut off
      const control = {
        input,
        get value() { return values ? values[+input.value] : +input.value; },
        set: to => { input.value = values ? values.indexOf(to) : to; show(); this.redraw(); },
        limit: (low, high) => { Object.assign(input, { min: low, max: high }); show(); },
        // Other ends, with the slider as far along as the reader has put it.
        rescale: (low, high) => {
          Object.assign(input, { min: low, max: high });
          input.value = Math.round(low + along * (high - low));
          show();
        },
      };
      const where = () => (input.value - input.min) / (input.max - input.min);
      let along = where();
      const show = () => {
        output.textContent = format(control.value);
        input.setAttribute("aria-valuetext", format(control.value));
      };
      input.addEventListener("input", event => {
        if (event.isTrusted) this.stop();  // the reader's hand, not `play`
        along = where();
        show();
        change(control.value);
        this.redraw();
      });
      show();
      this.bar.append(made("label", { class: "live-slider" }, made("span", {}, label), input, output));
      return control;
    }
    // One of a few: options [[value, text], ...] or a list of texts.
    choice({ label, options, value, change = () => {} }) {
      const pairs = options.map(option => Array.isArray(option) ? option : [option, option]);
      const select = made("select", {}, ...pairs.map(([key, text]) => made("option", { value: key }, text)));
      select.value = value ?? pairs[0][0];
      select.addEventListener("change", () => { change(select.value); this.redraw(); });
      this.bar.append(made("label", { class: "live-choice" }, made("span", {}, label), select));
      return { input: select, get value() { return select.value; } };
    }
    button(label, action) {
      const button = made("button", { type: "button", class: "live-button" }, label);
      button.addEventListener("click", () => { action(); this.redraw(); });
      this.bar.append(button);
      return button;
    }
    // A button that moves a slider through its range and stops at the end; nothing ever starts by itself.
    play(slider, { seconds = 6, back = false, name = "Play" } = {}) {
      const button = this.button(`▶ ${name}`, () => (this.timer ? this.stop() : start()));
      const label = () => { button.textContent = this.timer ? "❚❚ Pause" : `▶ ${name}`; };
      const start = () => {
        const ends = () => back ? [+slider.input.max, +slider.input.min] : [+slider.input.min, +slider.input.max];  // may change
        const [from, to] = ends();
        let share = (slider.input.value - from) / (to - from), last = null;
        if (share >= 1) share = 0;
        const tick = now => {
          share += last === null ? 0 : Math.min(now - last, 100) / 1000 / seconds;  // a tab that was away goes on where it was
          last = now;
          const [from, to] = ends();
          slider.input.value = from + Math.min(share, 1) * (to - from);
          slider.input.dispatchEvent(new Event("input"));
          if (share < 1) this.timer = requestAnimationFrame(tick);
          else this.stop();
        };
        this.timer = requestAnimationFrame(tick);
        label();
      };
      this.stopped = label;
      return button;
    }
    // Long work in pieces, one per frame, in the place of what was at work before. A piece may yield how many ms to wait.
    work(pieces) {
      let due = 0;
      this.pieces = pieces;
      const tick = now => {
        if (this.pieces !== pieces) return;
        const { value: pause, done } = now < due ? {} : pieces.next();
        if (pause) due = now + pause;
        if (!done) requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }
    stop() {
      cancelAnimationFrame(this.timer);
      this.timer = null;
      this.stopped?.();
    }
  }

  self.tinyddpm = Object.assign(self.tinyddpm || {}, { Stage, made, percent, short, figures: {} });
})();
