// One message: a question with its versions, or an answer with its thought, its state and what can be done with it.
import { announce, copyText, h, icon, iconButton, replace } from "./dom.js";
import { toast } from "./notices.js";
import { MarkdownView } from "./markdown.js";

const MODE = "DeepThink (R1)";

export function seconds(milliseconds) {
  if (milliseconds < 950) return "less than a second";
  const whole = Math.round(milliseconds / 1000);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

function copyButton(what, text) {
  const button = iconButton("copy", `Copy ${what}`, async () => {
    try {
      await copyText(text());
      button.replaceChildren(icon("check"));
      announce("Copied");
      setTimeout(() => button.replaceChildren(icon("copy")), 2000);
    } catch (error) {
      toast(error.message, { error: true });
    }
  });
  return button;
}

/** "2 of 3", and the way between them. */
function versionsOf(versions, id, actions) {
  if (versions.length < 2) return null;
  const at = versions.indexOf(id);
  const button = (name, label, to) => iconButton(name, label, () => actions.select(versions[to]), { disabled: to < 0 || to >= versions.length, "data-way": name });
  return h("div", { class: "versions", role: "group", "aria-label": "Versions" }, button("left", "Version before", at - 1),
    h("span", null, h("span", { class: "unseen" }, "Version "), `${at + 1} / ${versions.length}`), button("right", "Version after", at + 1));
}

/** What the person said. */
export class Question {
  constructor(actions) {
    this.actions = actions;
    this.element = h("article", { class: "message question", "aria-label": "You" });
  }

  update(message, versions, busy) {
    const same = this.message?.id === message.id && this.busy === busy && this.versions?.join() === versions.join();
    Object.assign(this, { message, versions, busy });
    if (!same && !this.isEditing) this.#show();
  }

  #show() {
    const { message, versions, actions, busy } = this;
    this.isEditing = false;
    replace(this.element,
      h("div", { class: "bubble" }, message.text),
      h("div", { class: "tools" }, versionsOf(versions, message.id, actions), copyButton("your message", () => message.text),
        iconButton("edit", "Edit and send again", () => this.#edit(), { disabled: busy }), message.deepThink && h("span", { class: "mode" }, icon("think"), MODE)));
  }

  #edit() {
    this.isEditing = true;
    let deepThink = this.message.deepThink;
    const area = h("textarea", { "aria-label": "Your message", rows: 3, value: this.message.text });
    const mode = h("button", { type: "button", class: "toggle", "aria-pressed": String(deepThink), onclick: () => {
      deepThink = !deepThink;
      mode.setAttribute("aria-pressed", String(deepThink));
    } }, icon("think"), MODE);
    const done = () => {
      this.#show();
      this.element.querySelector("[aria-label^=Edit]")?.focus();
    };
    const submit = h("button", { type: "submit", class: "primary" }, "Send");
    const form = h("form", { class: "editor", onsubmit: async event => {
      event.preventDefault();
      const text = area.value.trim();
      if (text === "") return;
      submit.disabled = true;
      this.isEditing = false;
      if (!await this.actions.edit(this.message.id, text, deepThink)) {
        this.isEditing = true;
        submit.disabled = false;
        area.focus();
      }
    } }, area, h("div", { class: "editor-buttons" }, mode, h("span", { class: "spring" }), h("button", { type: "button", class: "quiet", onclick: done }, "Cancel"), submit));
    form.addEventListener("keydown", event => {
      if (event.key === "Escape") {
        event.stopPropagation();
        done();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === area) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    replace(this.element, form);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}

const endings = {
  stopped: "You stopped this answer.",
  length: "This is as long as one answer can be.",
  interrupted: "The server stopped while this answer was being written. What there was of it is kept.",
};

/** What the model said, or is saying. */
export class Answer {
  #thought = "";
  #text = "";
  #began = 0;
  #frame = 0;
  #clock = 0;

  constructor(actions) {
    this.actions = actions;
    this.status = h("p", { class: "waiting" });
    this.summary = h("span");
    this.thoughtView = new MarkdownView("thought-text", actions.grew);
    this.thought = h("details", { class: "thought" }, h("summary", null, icon("think"), this.summary, icon("fold")), this.thoughtView.element);
    this.thought.firstChild.addEventListener("click", () => { this.isChosen = true; });
    this.view = new MarkdownView("", actions.grew);
    this.ending = h("div", { class: "ending" });
    this.tools = h("div", { class: "tools" });
    this.element = h("article", { class: "message answer", "aria-label": "Hadal" }, this.thought, this.status, this.view.element, this.ending, this.tools);
  }

  update(message, versions, busy) {
    Object.assign(this, { message, versions, busy });
    this.element.setAttribute("aria-label", message.deepThink ? "Hadal, with DeepThink" : "Hadal");
    if (message.state === "running") {
      if (!this.isRunning) this.#begin();
    } else if (this.isRunning || this.shown !== message.id) {
      this.#end();
    }

    this.#showTools();
  }

  /** One event of the stream. */
  happen(event) {
    switch (event.kind) {
      case "queued":
        this.#wait(`${event.place === 1 ? "You are next in line" : `Place ${event.place} in line`}${event.seconds > 0 ? `; about ${seconds(event.seconds * 1000)} to wait` : ""}.`);
        break;
      case "started":
        this.#began = performance.now();
        this.#wait(this.message.deepThink ? "" : "Reading…");
        if (this.message.deepThink) this.#think();
        break;
      case "thought":
        this.#thought += event.text;
        this.#think();
        break;
      case "thoughtEnd":
        this.#thoughtEnds(event.milliseconds);
        break;
      case "text":
        this.#text += event.text;
        this.#wait("");
        this.#draw();
        break;
      case "lost":
        this.element.classList.add("lost");
        this.#note("The connection is lost. The answer goes on at the server; trying to reach it…");
        break;
      case "found":
        this.element.classList.remove("lost");
        this.#note("");
        break;
    }
  }

  /** Stops timers of an element that is taken away. */
  leave() {
    clearInterval(this.#clock);
    cancelAnimationFrame(this.#frame);
  }

  #begin() {
    this.isRunning = true;
    this.#thought = "";
    this.#text = "";
    this.shown = null;
    this.element.classList.add("running");
    this.element.setAttribute("aria-busy", "true");
    this.thought.hidden = true;
    this.view.update("");
    replace(this.ending);
    this.#wait("Waiting for the model…");
  }

  #wait(text) {
    if (this.status.textContent === text) return;
    this.status.hidden = text === "";
    this.status.textContent = text;
    if (text.includes("line")) announce(text);
  }

  #note(text) {
    replace(this.ending, text !== "" && h("p", null, text));
  }

  #think() {
    if (this.thought.hidden) {
      this.thought.hidden = false;
      this.thought.open = true;
      this.isChosen = false;
      this.#wait("");
      const tick = () => { this.summary.textContent = `Thinking… ${Math.floor((performance.now() - this.#began) / 1000)} s`; };
      tick();
      clearInterval(this.#clock);
      this.#clock = setInterval(tick, 1000);
      announce("Thinking");
    }

    this.#draw();
  }

  #thoughtEnds(milliseconds) {
    clearInterval(this.#clock);
    this.thought.hidden = this.#thought === "";
    this.summary.textContent = `Thought for ${seconds(milliseconds)}`;
    if (!this.isChosen) this.thought.open = false;
    if (this.#text === "") this.#wait("Writing…");
  }

  #draw() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.thoughtView.update(this.#thought);
      this.view.update(this.#text);
      this.actions.grew();
    });
  }

  #end() {
    const { message } = this, wasRunning = this.isRunning;
    this.leave();
    this.#frame = 0;
    this.isRunning = false;
    this.shown = message.id;
    this.#text = message.text;
    this.#thought = message.reasoning ?? "";
    this.element.classList.remove("running", "lost");
    this.element.removeAttribute("aria-busy");
    this.thought.hidden = this.#thought === "";
    this.summary.textContent = `Thought for ${seconds(message.reasoningMilliseconds ?? 0)}`;
    if (!wasRunning || (message.text !== "" && !this.isChosen)) this.thought.open = false;
    this.thoughtView.update(this.#thought, true);
    this.view.update(this.#text, true);
    this.#wait("");
    replace(this.ending);
    if (message.isTrimmed) this.ending.append(h("p", { class: "small" }, "The beginning of this conversation no longer fits into what the model can read and was left out."));
    const failed = message.state === "failed" || message.state === "interrupted";
    const text = message.state === "failed" ? message.note ?? "The model could not answer." : endings[message.state];
    if (text) this.ending.append(h("p", { class: failed ? "failed" : "" }, failed && icon("warning"), text,
      failed && h("button", { type: "button", class: "link", onclick: () => this.actions.regenerate(message.id, message.deepThink) }, "Try again")));
    if (message.state === "complete" && message.text === "") this.ending.append(h("p", null, "The model answered with nothing."));
    if (wasRunning) announce(failed ? text : `Answer finished. ${message.text.slice(0, 400)}`);
  }

  #showTools() {
    const { message, versions, busy, actions } = this;
    if (message.state === "running") {
      replace(this.tools);
      return;
    }

    const other = message.deepThink ? "Answer again without DeepThink" : "Answer again with DeepThink (R1)";
    replace(this.tools, versionsOf(versions, message.id, actions), message.text !== "" && copyButton("the answer", () => message.text),
      iconButton("again", "Answer again", () => actions.regenerate(message.id, message.deepThink), { disabled: busy }),
      iconButton("think", other, () => actions.regenerate(message.id, !message.deepThink), { disabled: busy }),
      message.generatedTokens > 0 && h("span", { class: "figures" }, `${message.generatedTokens.toLocaleString("en")} tokens`));
  }
}
