// Colours for code. The highlighter and its languages are loaded when a text first needs them; until then, and for what it does not know, code is plain.
import { h } from "./dom.js";

const LONGEST = 40000;

const names = { bash: "Bash", c: "C", cpp: "C++", csharp: "C#", css: "CSS", diff: "Diff", dockerfile: "Dockerfile", fsharp: "F#", go: "Go", graphql: "GraphQL", haskell: "Haskell", ini: "INI",
  java: "Java", javascript: "JavaScript", json: "JSON", julia: "Julia", kotlin: "Kotlin", latex: "LaTeX", lua: "Lua", makefile: "Makefile", markdown: "Markdown", matlab: "MATLAB", nginx: "nginx",
  perl: "Perl", php: "PHP", powershell: "PowerShell", python: "Python", r: "R", ruby: "Ruby", rust: "Rust", scala: "Scala", shell: "Shell", sql: "SQL", swift: "Swift", typescript: "TypeScript",
  vbnet: "Visual Basic", x86asm: "Assembler", xml: "HTML, XML", yaml: "YAML" };

const others = { sh: "bash", zsh: "bash", h: "c", "c++": "cpp", cc: "cpp", hpp: "cpp", cs: "csharp", "c#": "csharp", docker: "dockerfile", fs: "fsharp", "f#": "fsharp", golang: "go", hs: "haskell",
  toml: "ini", js: "javascript", jsx: "javascript", mjs: "javascript", node: "javascript", jsonc: "json", jl: "julia", kt: "kotlin", tex: "latex", make: "makefile", md: "markdown", pl: "perl",
  ps1: "powershell", pwsh: "powershell", py: "python", python3: "python", rb: "ruby", rs: "rust", console: "shell", terminal: "shell", ts: "typescript", tsx: "typescript", vb: "vbnet",
  asm: "x86asm", assembly: "x86asm", html: "xml", svg: "xml", xhtml: "xml", yml: "yaml" };

// Languages that contain others.
const inner = { xml: ["css", "javascript"], php: ["xml"], markdown: ["xml"], shell: ["bash"] };

let core = null;
const loading = new Map();

function keyOf(language) {
  const word = language.trim().split(/[\s,{]/, 1)[0].toLowerCase();
  return Object.hasOwn(names, word) ? word : Object.hasOwn(others, word) ? others[word] : null;
}

/** What stands above a block of code. */
export function nameOf(language) {
  const key = keyOf(language);
  return key ? names[key] : language.trim().split(/\s/, 1)[0].slice(0, 24) || "Code";
}

/** Colours an element that holds the text. */
export function highlight(element, text, language) {
  const key = keyOf(language);
  if (!key || text.length > LONGEST) return;
  if (core?.getLanguage(key)) {
    paint(element, text, key);
    return;
  }

  load(key).then(() => { if (element.textContent === text) paint(element, text, key); }, () => { /* it stays plain */ });
}

function load(key) {
  if (!loading.has(key)) {
    loading.set(key, (async () => {
      if (!core) {
        const { default: highlighter } = await import("../vendor/highlight/core.min.js");
        highlighter.configure({ __emitter: ElementEmitter });
        core ??= highlighter;
      }

      const [module] = await Promise.all([import(`../vendor/highlight/languages/${key}.min.js`), ...(inner[key] ?? []).map(load)]);
      core.registerLanguage(key, module.default);
    })());
  }

  return loading.get(key);
}

function paint(element, text, key) {
  const result = core.highlight(text, { language: key, ignoreIllegals: true });
  if (result._emitter instanceof ElementEmitter) element.replaceChildren(result._emitter.root);
}

/** Builds elements where the highlighter would write markup. */
class ElementEmitter {
  constructor() {
    this.root = document.createDocumentFragment();
    this.open = [this.root];
  }

  addText(text) {
    if (text !== "") this.open.at(-1).append(text);
  }

  startScope(scope) {
    const span = h("span", { class: scope.split(".").map((part, depth) => depth === 0 ? `hljs-${part}` : part + "_".repeat(depth)).join(" ") });
    this.open.at(-1).append(span);
    this.open.push(span);
  }

  endScope() {
    if (this.open.length > 1) this.open.pop();
  }

  openNode(scope) { this.startScope(scope); }

  closeNode() { this.endScope(); }

  closeAllNodes() { this.open.length = 1; }

  __addSublanguage(emitter) {
    this.open.at(-1).append(emitter.root);
  }

  finalize() { this.closeAllNodes(); }

  toHTML() { return ""; }
}
