// A model's Markdown as elements. The parser only makes tokens; what becomes of each kind is decided here, text always as text nodes. Markup in the text stays text,
// pictures from elsewhere become links, and links lead to the web and to mail alone.
import { Marked } from "../vendor/marked/marked.esm.js";
import { copyText, h, icon, iconButton } from "./dom.js";
import { toast } from "./notices.js";
import { highlight, nameOf } from "./highlight.js";
import { formula } from "./formula.js";

const marked = new Marked({ gfm: true, breaks: true });

marked.use({
  extensions: [
    {
      name: "formulaBlock",
      level: "block",
      start: source => source.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
      tokenizer: source => {
        const match = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n+|$)/.exec(source);
        return match ? { type: "formulaBlock", raw: match[0], text: (match[1] ?? match[2]).trim() } : undefined;
      },
    },
    {
      name: "formula",
      level: "inline",
      start: source => source.match(/\$|\\[([]/)?.index,
      tokenizer: source => {
        // A dollar sign opens a formula when nothing like a price is meant: no space inside it at either end, no digit behind it.
        const match = /^(?:\$\$((?:[^$\\]|\\[\s\S])+?)\$\$|\$(?![\s$])((?:[^$\\\n]|\\.)*?[^\s$\\])\$(?!\d)|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\])/.exec(source);
        if (!match) return undefined;
        return { type: "formula", raw: match[0], text: (match[1] ?? match[2] ?? match[3] ?? match[4]).trim(), display: match[1] !== undefined || match[4] !== undefined };
      },
    },
  ],
});

/** Shows a text that may still grow: only the blocks that changed are made again. */
export class MarkdownView {
  #blocks = [];

  constructor(name) {
    this.element = h("div", { class: `markdown ${name ?? ""}` });
  }

  update(text) {
    let tokens;
    try {
      tokens = marked.lexer(text).filter(token => token.type !== "space" && token.type !== "def");
    } catch {
      tokens = [{ type: "paragraph", raw: text, tokens: [{ type: "text", raw: text, text, escaped: true }] }];
    }

    let same = 0;
    while (same < tokens.length && same < this.#blocks.length && this.#blocks[same].raw === tokens[same].raw) same++;
    for (const block of this.#blocks.splice(same)) block.node.remove();
    for (const token of tokens.slice(same)) {
      // Headings of a message begin below the page's own and go down one level at a time, whatever the model skips.
      let level = this.#blocks.at(-1)?.level ?? 1;
      if (token.type === "heading") level = Math.min(token.depth + 1, level + 1, 6);
      const node = block(token, level);
      this.#blocks.push({ raw: token.raw, node, level });
      this.element.append(node);
    }
  }
}

function block(token, level) {
  switch (token.type) {
    case "heading": return level ? h(`h${level}`, { class: `depth-${token.depth}` }, inlines(token.tokens)) : h("p", { class: `depth-${token.depth}` }, inlines(token.tokens));
    case "paragraph": return h("p", null, inlines(token.tokens));
    case "blockquote": return h("blockquote", null, token.tokens.filter(inner => inner.type !== "space").map(inner => block(inner)));
    case "list": return list(token);
    case "hr": return h("hr");
    case "code": return code(token.text, token.lang ?? "");
    case "table": return table(token);
    case "formulaBlock": return formula(token.text, true);
    case "html": return h("p", null, token.raw.trim());
    case "text": return token.tokens ? h("p", null, inlines(token.tokens)) : h("p", null, decode(token.text));
    case "space":
    case "def": return document.createTextNode("");
    default: return h("p", null, token.raw);
  }
}

function list(token) {
  const items = token.items.map(item => {
    // Tight items hold their text without a paragraph around it.
    const inside = item.tokens.filter(inner => inner.type !== "space" && inner.type !== "checkbox").map(inner => inner.type === "text" && !item.loose ? inlines(inner.tokens ?? [inner]) : block(inner));
    if (!item.task) return h("li", null, inside);
    return h("li", { class: "task" }, h("span", { class: item.checked ? "box done" : "box", role: "img", "aria-label": item.checked ? "done" : "to do" }), h("div", null, inside));
  });
  return token.ordered ? h("ol", { start: token.start === 1 || token.start === "" ? null : token.start }, items) : h("ul", null, items);
}

function table(token) {
  const cell = (name, of, column) => h(name, { class: token.align[column] ? `align-${token.align[column]}` : null, scope: name === "th" ? "col" : null }, inlines(of.tokens));
  return h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" }, h("table", null,
    h("thead", null, h("tr", null, token.header.map((of, column) => cell("th", of, column)))),
    h("tbody", null, token.rows.map(row => h("tr", null, row.map((of, column) => cell("td", of, column)))))));
}

function code(text, language) {
  const name = nameOf(language);
  const inside = h("code", null, text);
  highlight(inside, text, language);
  const button = h("button", { type: "button", class: "quiet small", onclick: async () => {
    try {
      await copyText(text);
      button.replaceChildren(icon("check"), "Copied");
      setTimeout(() => button.replaceChildren(icon("copy"), "Copy"), 2000);
    } catch (error) {
      toast(error.message, { error: true });
    }
  } }, icon("copy"), "Copy");
  return h("figure", { class: "code" }, h("figcaption", null, h("span", null, name), button), h("pre", { tabindex: 0, "aria-label": `Code: ${name}` }, inside));
}

function inlines(tokens) {
  return (tokens ?? []).map(inline);
}

function inline(token) {
  switch (token.type) {
    case "strong": return h("strong", null, inlines(token.tokens));
    case "em": return h("em", null, inlines(token.tokens));
    case "del": return h("del", null, inlines(token.tokens));
    case "codespan": return h("code", null, token.text);
    case "br": return h("br");
    case "formula": return formula(token.text, token.display);
    case "link": return link(token.href, inlines(token.tokens));
    case "image": return link(token.href, [`Picture: ${decode(token.text) || token.href}`]);
    case "html": return document.createTextNode(token.raw);
    case "escape": return document.createTextNode(token.text);
    case "text": return token.tokens ? h("span", null, inlines(token.tokens)) : document.createTextNode(decode(token.text));
    default: return document.createTextNode(token.raw);
  }
}

/** Only addresses that lead to the web or to mail become links; anything else stays visible as what it is. */
export function isSafe(href) {
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

const entities = { amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", hellip: "…", mdash: "—", ndash: "–", times: "×", divide: "÷",
  plusmn: "±", deg: "°", micro: "µ", middot: "·", bull: "•", laquo: "«", raquo: "»", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”", larr: "←", rarr: "→", uarr: "↑", darr: "↓",
  euro: "€", pound: "£", sect: "§", para: "¶", alpha: "α", beta: "β", gamma: "γ", delta: "δ", lambda: "λ", mu: "μ", pi: "π", sigma: "σ", theta: "θ", omega: "ω", infin: "∞", ne: "≠",
  le: "≤", ge: "≥", asymp: "≈", sum: "∑", prod: "∏", radic: "√", int: "∫", part: "∂", isin: "∈", empty: "∅" };

function decode(text) {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/gi, (whole, decimal, hexadecimal, name) => {
    if (name !== undefined) return Object.hasOwn(entities, name) ? entities[name] : whole;
    const point = decimal !== undefined ? Number(decimal) : parseInt(hexadecimal, 16);
    return point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) ? String.fromCodePoint(point) : "\ufffd";
  });
}
