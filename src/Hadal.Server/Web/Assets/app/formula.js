// Formulas. The typesetter is loaded when a text first needs it; what it cannot read stays as it was written.
import { h } from "./dom.js";

const LONGEST = 8000;
let typesetter = null, loading = null;

/** An element with a formula in it. */
export function formula(text, display) {
  const element = h(display ? "div" : "span", { class: display ? "formula display" : "formula", tabindex: display ? 0 : null, role: display ? "group" : null, "aria-label": display ? "Formula" : null }, text);
  if (text.length > LONGEST) return element;
  if (typesetter) typeset(element, text, display);
  else load().then(() => typeset(element, text, display), () => { /* it stays as written */ });
  return element;
}

function typeset(element, text, display) {
  const made = h("span");
  try {
    typesetter.render(text, made, { displayMode: display, throwOnError: true, trust: false, strict: "ignore", maxSize: 40, maxExpand: 500 });
    element.replaceChildren(...made.childNodes);
  } catch {
    element.classList.add("raw");
    element.textContent = text;
  }
}

function load() {
  loading ??= (async () => {
    const sheet = h("link", { rel: "stylesheet", href: "/assets/vendor/katex/katex.min.css" });
    const styled = new Promise((resolve, reject) => {
      sheet.addEventListener("load", resolve);
      sheet.addEventListener("error", reject);
    });
    document.head.append(sheet);
    await Promise.all([styled, import("../vendor/katex/katex.min.js")]);
    typesetter = globalThis.katex;
  })();
  return loading;
}
