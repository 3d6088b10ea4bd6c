// Live figures: where a page has one, its scripts are loaded when it comes near, and it takes the place of its stored picture.
// Without scripts, on paper and in a notebook the picture stays. The weights of a model are loaded only when the reader asks.
(() => {
  "use strict";
  const home = document.currentScript.src.replace(/live\.js.*$/, "live/");
  const loaded = {};
  const { lang } = document.documentElement;
  const say = {
    run: "Run it here", stays: "This figure cannot be moved here", missing: "could not be loaded",
    ...lang === "vi" && { run: "Chạy ngay tại đây", stays: "Ở đây hình này không tương tác được", missing: "không tải được" },
  };
  const load = name => loaded[name] ||= new Promise((done, failed) => {
    const script = document.createElement("script");
    const missing = () => { delete loaded[name]; script.remove(); failed(new Error(`${name}.js ${say.missing}`)); };
    Object.assign(script, { src: `${home}${name}.js`, onload: done, onerror: missing });
    document.head.append(script);
  });
  const all = async names => { for (const name of names) await load(name); };

  async function begin(element) {
    const { figure, settings, weights } = element.dataset;
    await all(["engine", "plot", figure, ...(weights ? weights.split(" ").map(name => `weights/${name}`) : [])]);
    element.classList.add("is-live");
    // In the language of the figure, which in a chapter is English.
    const live = element.closest("[lang]").lang === "vi" ? "Hình tương tác" : "Live figure";
    const label = `${live}: ${(element.dataset.label || element.querySelector("img").alt).split(". ")[0]}`;
    await tinyddpm.figures[figure](new tinyddpm.Stage(element, label), JSON.parse(settings || "{}"));
  }
  // Where it cannot be, the picture stays, and the reader is told why.
  function failed(element, error) {
    console.error(error);
    element.classList.remove("is-live");
    element.querySelector(".live-stage")?.remove();
    Object.assign(element.querySelector(":scope > p"), { lang }).textContent = `${say.stays}: ${error.message}.`;
  }

  // A figure with weights waits for a click; the others begin when they come near.
  function prepare(element) {
    if (!element.dataset.weights) {
      new IntersectionObserver((entries, watch) => {
        if (!entries.some(entry => entry.isIntersecting)) return;
        watch.disconnect();
        begin(element).catch(error => failed(element, error));
      }, { rootMargin: "400px" }).observe(element);
      return;
    }
    const button = document.createElement("button");
    const textContent = `▶ ${say.run} (${element.dataset.size})`;
    Object.assign(button, { type: "button", className: "live-button live-start", textContent, lang });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try { await begin(element); } catch (error) { failed(element, error); }
      button.remove();
      element.querySelector(".live-stage :is(input, select, button)")?.focus({ preventScroll: true });
    });
    element.append(button);
  }

  self.tinyddpm = Object.assign(self.tinyddpm || {}, { script: load });
  addEventListener("DOMContentLoaded", () => document.querySelectorAll(".live").forEach(prepare));
})();
