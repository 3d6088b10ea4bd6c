// A formula inside a text that is wider than the text, on a phone, gets a box of its own to scroll in: see book.css.
const fit = () => document.querySelectorAll("span.math").forEach(math => {
  const drawn = math.querySelector("svg");
  const text = math.parentElement.closest("p, li, td, dd, summary, div");
  math.classList.toggle("wide", Boolean(drawn) && drawn.getBoundingClientRect().width > text.clientWidth);
});
addEventListener("load", () => window.MathJax?.startup?.promise?.then(fit));
addEventListener("resize", fit);
