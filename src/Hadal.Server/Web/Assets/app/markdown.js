// A model's text as elements. The server reads the Markdown and answers with a tree of names; here each name of a short list becomes an element, made one by one. Texts are text nodes, links
// lead to the web and to mail alone, and a name that is not on the list becomes nothing.
import { copyText, h, icon } from "./dom.js";
import { fadeEdges } from "./edges.js";
import { toast } from "./notices.js";
import { highlight, nameOf } from "./highlight.js";
import { read } from "./render.js";

const PAUSE = 150; // between readings of a text that grows
const MATH = "http://www.w3.org/1998/Math/MathML";
const plain = new Set(["p", "strong", "em", "del", "code", "br", "hr", "blockquote", "ul", "tr", "span"]);
const mathNames = new Set(["math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "munder", "mover", "munderover", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mstyle"]);
const mathAttributes = new Set(["display", "stretchy", "mathvariant", "displaystyle", "accent", "width", "linethickness"]);

/** Shows a text that may still grow. `changed` is called whenever what is shown has changed. */
export class MarkdownView {
  #blocks = [];
  #wanted = "";
  #shown = "";
  #whole = true; // whether what is shown was read as a whole, as far as that is wanted
  #hasEnded = false;
  #isReading = false;

  constructor(name, changed) {
    this.element = h("div", { class: `markdown ${name ?? ""}` });
    this.changed = changed ?? (() => {});
  }

  /** With `ended`, the text is read once more as a whole: an end can give meaning to a beginning. */
  update(text, ended = false) {
    if (text === this.#wanted && (this.#hasEnded || !ended)) return;
    this.#wanted = text;
    this.#hasEnded = ended;
    this.#whole = !ended;
    if (text === "" || !text.startsWith(this.#shown)) {
      this.#blocks = [];
      this.#shown = "";
      this.element.replaceChildren();
      if (text === "") return;
    }

    if (this.#blocks.length === 0) this.#showPlainly();
    if (!this.#isReading) this.#read();
  }

  async #read() {
    this.#isReading = true;
    try {
      while (this.#shown !== this.#wanted || !this.#whole) {
        const text = this.#wanted, whole = !this.#whole;

        // Every block but the last is as it will be.
        const kept = whole ? 0 : Math.max(0, this.#blocks.length - 1), from = kept > 0 ? this.#blocks[kept].start : 0;
        const fresh = await read(text.slice(from));
        if (!this.#wanted.startsWith(text)) continue;
        this.#apply(kept, fresh.map(({ start, node }) => ({ start: start + from, node })));
        this.#shown = text;
        if (whole) this.#whole = true;
        this.changed();
        if (this.#wanted !== text) await new Promise(resolve => setTimeout(resolve, PAUSE));
      }
    } catch {
      if (this.#shown !== this.#wanted) this.#showPlainly();
      this.#whole = true;
    } finally {
      this.#isReading = false;
    }
  }

  // Until the server has answered, or if it does not.
  #showPlainly() {
    this.#blocks = [];
    this.#shown = "";
    this.element.replaceChildren(h("p", { class: "plain" }, this.#wanted));
    this.changed();
  }

  #apply(kept, fresh) {
    if (this.#blocks.length === 0) this.element.replaceChildren();
    let level = kept > 0 ? this.#blocks[kept - 1].level : 1;
    fresh.forEach(({ start, node }, place) => {
      // Headings of a message begin below the page's own and go down one level at a time, whatever the model skips.
      if (node[0] === "h") level = Math.min(node[1].depth + 1, level + 1, 6);
      const key = JSON.stringify(node) + level, before = this.#blocks[kept + place];
      if (before?.key === key) {
        before.start = start;
        return;
      }

      const element = make(node, level) ?? document.createTextNode("");
      if (before) before.element.replaceWith(element);
      else this.element.append(element);
      this.#blocks[kept + place] = { start, key, level, element };
    });
    for (const gone of this.#blocks.splice(kept + fresh.length)) gone.element.remove();
  }
}

function make(node, level) {
  if (typeof node === "string") return document.createTextNode(node);
  if (!Array.isArray(node)) return null;
  const [name, ...rest] = node;
  const has = rest.length > 0 && typeof rest[0] === "object" && !Array.isArray(rest[0]) ? rest.shift() : {};
  const inside = () => rest.map(child => make(child));
  switch (name) {
    case "h": return h(level ? `h${level}` : "p", { class: `depth-${Number(has.depth)}` }, inside());
    case "pre": return code(String(rest[0] ?? ""), String(has.language ?? ""));
    case "a": return link(String(has.href ?? ""), inside());
    case "ol": return h("ol", { start: Number.isInteger(has.start) ? has.start : null }, inside());
    case "li": return item(has.task, inside());
    case "table": return table(rest);
    case "th": return h("th", { scope: "col", class: align(has) }, inside());
    case "td": return h("td", { class: align(has) }, inside());
    case "formula": return formula(rest[0], String(has.source ?? ""), has.display === true);
    default: return plain.has(name) ? h(name, null, inside()) : null;
  }
}

function align(has) {
  return has.align === "right" || has.align === "center" ? `align-${has.align}` : null;
}

function item(task, inside) {
  if (!task) return h("li", null, inside);
  return h("li", { class: "task" }, h("span", { class: task === "done" ? "box done" : "box", role: "img", "aria-label": task === "done" ? "done" : "to do" }), h("div", null, inside));
}

function table(rows) {
  const head = rows.filter(row => row[1]?.[0] === "th"), body = rows.filter(row => row[1]?.[0] !== "th");
  return fadeEdges(h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" }, h("table", null, h("thead", null, head.map(row => make(row))), h("tbody", null, body.map(row => make(row))))));
}

function code(text, language) {
  const name = nameOf(language);
  const button = h("button", { type: "button", class: "quiet small", onclick: async () => {
    try {
      await copyText(text);
      button.replaceChildren(icon("check"), "Copied");
      setTimeout(() => button.replaceChildren(icon("copy"), "Copy"), 2000);
    } catch (error) {
      toast(error.message, { error: true });
    }
  } }, icon("copy"), "Copy");
  return h("figure", { class: "code" }, h("figcaption", null, h("span", null, name), button), fadeEdges(h("pre", { tabindex: 0, "aria-label": `Code: ${name}` }, h("code", null, highlight(text, language)))));
}

/** Only addresses that lead to the web or to mail become links; anything else stays visible as what it is. */
function isSafe(href) {
  try {
    return ["http:", "https:", "mailto:"].includes(new URL(href).protocol);
  } catch {
    return false;
  }
}

function link(href, inside) {
  if (!isSafe(href)) return h("span", { class: "no-link", title: `This address is not opened: ${href}` }, inside);
  return h("a", { href, title: href, target: "_blank", rel: "noopener noreferrer nofollow" }, inside);
}

function formula(tree, source, display) {
  const math = tree ? makeMath(tree) : null;
  const attributes = display ? { class: "formula display", tabindex: 0, role: "group", "aria-label": "Formula" } : { class: "formula" };
  if (!math) return h(display ? "div" : "span", { ...attributes, class: `${attributes.class} raw` }, source);
  math.setAttribute("alttext", source);
  const element = h("span", attributes, math);
  return display ? fadeEdges(element) : element;
}

function makeMath(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [name, ...rest] = node;
  if (!mathNames.has(name)) return null;
  const element = document.createElementNS(MATH, name);
  if (rest.length > 0 && !Array.isArray(rest[0]) && typeof rest[0] === "object") {
    for (const [key, value] of Object.entries(rest.shift())) {
      if (mathAttributes.has(key)) element.setAttribute(key, String(value));
      else if (key === "kind") element.setAttribute("class", String(value));
    }
  }

  for (const child of rest) {
    const made = makeMath(child);
    if (made) element.append(made);
  }

  return element;
}
