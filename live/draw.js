// What the first page says in Vietnamese. In a chapter, figures keep their English words, which the caption translates.
tinyddpm.vietnamese = {
  "Draw": "Vẽ", "What to draw": "Vẽ gì (bằng tiếng Anh)", "Sentences to choose from": "Những câu để chọn", "another one": "một câu khác",
  "steps done": "số bước đã đi", "Drawn before": "Đã vẽ trước đó", "The picture: nothing yet": "Bức ảnh: chưa có gì",
  "The picture, on its way": "Bức ảnh đang được vẽ", "Drawing …": "Đang vẽ …", "Loading the model …": "Đang tải mô hình …",
  "nothing said": "không nói gì", "Nothing said": "Không nói gì", "Drawing: # of # steps to go": "Đang vẽ: còn # trong số # bước",
  "A picture drawn from the sentence: #": "Bức ảnh vẽ từ câu: #", "#, drawn in # steps and # seconds.": "#: vẽ xong sau # bước, hết # giây.",
  "The model cannot draw this: #": "Mô hình không vẽ được câu này: #",
  "The words: #.": "Mô hình chỉ hiểu các từ tiếng Anh này: #.",
  faults: [
    [/^it has the unknown word '(.*?)': the nearest known word is '(.*?)'/, "có từ lạ “$1”, từ gần nhất là “$2”"],
    [/^it has the unknown word '(.*?)'.*/s, "có từ lạ “$1”"],
    [/^it has (\d+) words.*most (\d+)$/, "có $1 từ, nhiều nhất được $2 từ"],
  ],
};

// A sentence is typed or chosen, and its picture is drawn step by step. With `controls` the reader sets how, as in Chapter 9.
tinyddpm.figures.draw = async (stage, { sentences, controls = false }) => {
  const { made } = tinyddpm;
  const inVietnamese = !controls && document.documentElement.lang === "vi" ? tinyddpm.vietnamese : {};
  const say = (text, ...values) => (inVietnamese[text] ?? text).replace(/#/g, () => values.shift());
  await tinyddpm.script("artist");
  const sentence = made("input", { type: "text", value: sentences[0], maxlength: 120, spellcheck: "false", autocomplete: "off" });
  const go = made("button", { type: "submit", class: "live-button live-go" }, say("Draw"));
  const label = made("label", {}, made("span", {}, say("What to draw")), sentence);
  const form = made("form", { class: "live-ask", id: "live-ask" }, label, go);
  const chips = made("div", { class: "live-chips", role: "group", "aria-label": say("Sentences to choose from") });
  const bar = made("progress", { max: 1, value: 0, "aria-label": say("steps done") });
  const canvas = made("canvas", { width: 64, height: 64, role: "img", "aria-label": say("The picture: nothing yet") });
  const easel = made("div", { class: "live-easel" }, canvas, bar);
  const shelf = made("ul", { class: "live-shelf", "aria-label": say("Drawn before") });
  stage.row.append(form, easel, made("div", { class: "live-desk" }, chips, stage.bar, stage.line, shelf));

  let seed = controls ? 1 : 1 + Math.floor(1e6 * Math.random()), shown = null, states = [];
  const guidance = controls && stage.slider({ label: "guidance", min: 0, max: 8, step: 0.5, value: 3, format: String });
  const steps = controls && stage.slider({ label: "steps", values: [2, 5, 10, 25, 50], value: 25, format: String });
  const noise = [["same", "the same"], ["new", "new each time"]];
  const same = controls && stage.choice({ label: "noise", options: noise });
  const unlike = made("input", { type: "text", form: "live-ask", maxlength: 120, spellcheck: "false", autocomplete: "off" });
  if (controls) stage.bar.append(made("label", { class: "live-choice" }, made("span", {}, "but not"), unlike));
  const when = () => shown ? `t = ${shown.t}` : "–";
  const back = controls && stage.slider({ label: "look back", min: 0, max: 1, value: 1, format: when });
  if (controls) {
    back.input.disabled = true;
    back.input.addEventListener("input", () => { shown = states[back.value]; back.set(back.value); paint(); });
    // With less guidance there is nothing to lead away from, and with less than none the picture would be led there.
    guidance.input.addEventListener("input", () => { unlike.disabled = guidance.value <= 1; });
  }

  // The state as colours, as thick as it is noise, over what is decoded from it: as on the first page's film.
  function paint() {
    const pen = canvas.getContext("2d"), small = new OffscreenCanvas(64, 64), side = canvas.width;
    if (!shown) {
      const noise = tinyddpm.random(seed).normals(256);
      mosaic(pen, noise, 1, side);
      return;
    }
    small.getContext("2d").putImageData(new ImageData(shown.pixels, 64, 64), 0, 0);
    Object.assign(pen, { imageSmoothingEnabled: true, imageSmoothingQuality: "high", globalAlpha: 1 });
    pen.drawImage(small, 0, 0, side, side);
    mosaic(pen, shown.code, shown.noise, side);
  }
  function mosaic(pen, code, noise, side) {
    pen.globalAlpha = noise;
    for (let i = 0; i < 64; i++) {
      const [r, g, b] = [0, 64, 128].map(channel => 255 * Math.min(1, Math.max(0, code[channel + i] / 5 + 0.5)));
      pen.fillStyle = `rgb(${r}, ${g}, ${b})`;
      pen.fillRect(i % 8 * side / 8, Math.floor(i / 8) * side / 8, side / 8 + 0.5, side / 8 + 0.5);
    }
    pen.globalAlpha = 1;
  }
  function fit() {
    const side = Math.round(canvas.clientWidth * Math.min(devicePixelRatio || 1, 3)) || 64;
    if (canvas.width !== side) canvas.width = canvas.height = side;
    paint();
  }
  new ResizeObserver(fit).observe(canvas);

  async function draw() {
    const words = input => input.value.replace(/["“”„'’!?;:]/g, " ").replace(/\s+/g, " ").trim();
    const asked = words(sentence), begun = performance.now(), negative = unlike.disabled ? "" : words(unlike);
    if (!controls || same.value === "new") seed += 1;
    const job = { guidance: guidance ? guidance.value : 3, steps: steps ? steps.value : 25, seed, negative };
    const own = states = [];
    if (back) back.input.disabled = true;
    stage.node.setAttribute("aria-busy", "true");
    stage.says(say(self.tinyddpmWeights?.scenes ? "Drawing …" : "Loading the model …"));
    canvas.setAttribute("aria-label", say("The picture, on its way"));
    bar.value = 0;
    try {
      const end = await tinyddpm.artist.draw(asked, { ...job, each: state => {
        shown = state;
        states.push(state);
        bar.value = 1 - state.left / job.steps;
        if (back) { back.limit(0, states.length - 1); back.set(states.length - 1); }
        if (state.left && state.left % 5 === 0) stage.says(say("Drawing: # of # steps to go", state.left, job.steps));
        requestAnimationFrame(paint);
      } });
      if (!end) return;
      canvas.setAttribute("aria-label", say("A picture drawn from the sentence: #", asked || say("nothing said")));
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      stage.says(say("#, drawn in # steps and # seconds.", asked ? `“${asked}”` : say("Nothing said"), job.steps, seconds));
      keep(asked, end, job);
    } catch (error) {
      // The engine speaks of what it was given as the package does.
      let fault = error.message.replace(/^caption = .*(?=has (the unknown word|\d+ words))/s, "it ");
      for (const [theirs, ours] of inVietnamese.faults || []) fault = fault.replace(theirs, ours);
      stage.says(say("The model cannot draw this: #", fault));
    }
    if (states !== own) return;  // another drawing has begun
    stage.node.removeAttribute("aria-busy");
    if (back) back.input.disabled = states.length < 2;
  }

  // The last pictures, small, with what was asked for and, where it can be set, how.
  function keep(asked, { pixels }, { guidance, steps, negative }) {
    const how = controls ? `guidance ${guidance}, ${steps} steps${negative ? `, not ${negative}` : ""}` : "";
    const small = made("canvas", { width: 64, height: 64, role: "img", "aria-label": asked || say("nothing said"), title: asked });
    small.getContext("2d").putImageData(new ImageData(pixels, 64, 64), 0, 0);
    shelf.prepend(made("li", {}, small, how));
    while (shelf.children.length > 6) shelf.lastChild.remove();
  }

  form.addEventListener("submit", event => { event.preventDefault(); draw(); });
  const offer = (label, text) => {
    const chip = made("button", { type: "button", class: "live-chip" }, label);
    chip.addEventListener("click", () => { sentence.value = text(); draw(); });
    chips.append(chip);
  };
  sentences.forEach(text => offer(text, () => text));
  offer(say("another one"), () => {
    const any = list => list[Math.floor(list.length * Math.random())];
    const colours = ["red", "green", "blue", "yellow"], kinds = ["circle", "square", "triangle"];
    const thing = () => `a ${any(["small", "large"])} ${any(colours)} ${any(kinds)}`;
    return `${thing()} ${any(["above", "below", "left of", "right of"])} ${thing()}`;
  });
  const known = "a, small, large, red, green, blue, yellow, circle, square, triangle, above, below, left of, right of";
  stage.says(say("The words: #.", known));
};
