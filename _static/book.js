// The theme tells the console what it does, which is for nobody who reads; what a page says there should mean something.
{
  const { log } = console;
  console.log = (...words) => /^\[(PST|togglebutton)\]/.test(words[0]) || log(...words);
}

// What this script writes, in the language of the page.
const say = {
  en: { show: "Show", ideas: "ideas", everything: "everything", fold: "Fold set-up, checks and plotting", unfold: "Unfold all code and all checks" },
  vi: { show: "Hiện", ideas: "ý tưởng", everything: "tất cả", fold: "Gấp phần chuẩn bị, kiểm tra và vẽ hình", unfold: "Mở mọi đoạn mã và mọi phép kiểm tra" },
}[document.documentElement.lang === "vi" ? "vi" : "en"];

// The copy buttons know some languages, and take another.
if (document.documentElement.lang === "vi" && typeof messages !== "undefined") {
  messages.vi = { copy: "Chép", copy_to_clipboard: "Chép đoạn mã", copy_success: "Đã chép!", copy_failure: "Không chép được" };
  locale = "vi";
}

// The switch to the other language leads to the place that is being read; its places have the same names.
addEventListener("DOMContentLoaded", () => document.querySelector("a.language")?.addEventListener("click", event => {
  const above = [...document.querySelectorAll("article section[id], article [id^=eq-], article [id^=slip-]")]
    .filter(node => node.getBoundingClientRect().top < 120);
  event.currentTarget.search = location.search;  // on the page of the search, what was looked for
  event.currentTarget.hash = scrollY > 200 && above.length ? above.pop().id : "";
}));

// On a phone formulas begin at the left, and are a little smaller.
if (innerWidth < 500 && window.MathJax) MathJax.svg = { ...MathJax.svg, displayAlign: "left", scale: 0.9 };

// A formula inside a text that is wider than the text, on a phone, gets a box of its own to scroll in: see book.css.
const fit = () => document.querySelectorAll("span.math").forEach(math => {
  const drawn = math.querySelector("svg");
  const text = math.parentElement.closest("p, li, td, dd, summary, div");
  math.classList.toggle("wide", Boolean(drawn) && drawn.getBoundingClientRect().width > text.clientWidth);
});
addEventListener("load", () => window.MathJax?.startup?.promise?.then(fit));
addEventListener("resize", fit);

// "Ideas" or "everything": whether set-up, checks and plotting are folded. Each fold opens by itself too. The choice is remembered.
const remember = { get: () => { try { return localStorage.tinyddpmShow; } catch { return null; } },
                   set: value => { try { localStorage.tinyddpmShow = value; } catch {} } };
addEventListener("DOMContentLoaded", () => {
  const folds = [...document.querySelectorAll("details:is(.fold, .machinery)")];
  const title = document.querySelector("article h1");
  if (!folds.length || !title) return;
  const control = document.createElement("div");
  control.className = "depth";
  control.setAttribute("role", "group");
  control.setAttribute("aria-label", say.show);
  const choices = ["ideas", "everything"].map(name => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = say[name];
    button.dataset.depth = name;
    button.title = name === "ideas" ? say.fold : say.unfold;
    button.addEventListener("click", () => {
      const seen = [...document.querySelectorAll("article section > :not(section)")].find(node => node.getBoundingClientRect().bottom > 80);
      const top = seen?.getBoundingClientRect().top;
      show(name);
      remember.set(name);
      if (seen) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
    });
    return button;
  });
  const show = name => {
    choices.forEach(button => button.setAttribute("aria-pressed", button.dataset.depth === name));
    folds.forEach(fold => fold.open = name === "everything");
  };
  control.append(...choices);
  title.after(control);
  show(remember.get() === "everything" ? "everything" : "ideas");
  // A place inside a fold, or a word that was searched for, is shown.
  const reveal = () => [location.hash && document.getElementById(location.hash.slice(1)), ...document.querySelectorAll(".highlighted")]
    .forEach(node => { for (let fold = node?.closest?.("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true; });
  reveal();
  addEventListener("hashchange", reveal);
});
