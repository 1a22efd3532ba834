// The page of a conversation, and of none yet.
import { call, currentSession } from "./api.js";
import { announce, h, icon, replace } from "./dom.js";
import { attempt, toast } from "./notices.js";
import { Answer, Question } from "./message.js";
import { Composer } from "./composer.js";
import { follow } from "./stream.js";

const examples = [
  ["What is 348 + 275?", true, "Adds step by step"],
  ["Sort these numbers: 9, 4, 17, 1, 12", false, "Answers at once"],
  ["Write a C# method that checks whether a string is a palindrome.", false, "Shows code"],
  ["How does a mixture of experts choose its experts? Show the formula.", true, "Thinks, then writes formulas"],
];

export class ChatPage {
  #items = new Map();
  #line = null;
  #sticks = true;

  constructor(shell) {
    this.shell = shell;
    this.view = null;
    this.list = h("div", { class: "messages" });
    this.empty = h("div", { class: "empty" });
    this.composer = new Composer({ send: (text, deepThink) => this.#say(text, deepThink), stop: () => this.#stop(), longest: currentSession().limits.text });
    this.newest = h("button", { type: "button", class: "newest", hidden: true, "aria-label": "To the newest message", title: "To the newest message", onclick: () => this.#toEnd(true) }, icon("down"));
    this.scroller = h("div", { class: "scroller", tabindex: -1 }, this.empty, this.list);
    this.element = h("div", { class: "chat" }, this.scroller, h("div", { class: "bottom" }, this.newest, this.composer.element,
      h("p", { id: "hint", class: "hint" }, h("span", { class: "keys-hint" }, "Enter sends, Shift+Enter begins a new line. "), "Models make mistakes: check what matters.")));
    this.scroller.addEventListener("scroll", () => {
      const away = this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
      this.#sticks = away < 80;
      this.newest.hidden = away < 300;
    }, { passive: true });
    this.actions = {
      edit: (id, text, deepThink) => this.#change(`/messages/${id}/edit`, { text, deepThink }),
      regenerate: (id, deepThink) => this.#change(`/messages/${id}/regenerate`, { deepThink }),
      select: id => this.#select(id),
      grew: () => this.#toEnd(false),
    };
  }

  /** Shows a conversation, or the place where a new one begins. */
  async open(id) {
    if (id && this.view?.id === id) return;
    this.leave();
    this.view = null;
    this.composer.setBusy(false);
    this.composer.keepUnder(id ?? "new");
    this.composer.element.hidden = false;
    if (!id) {
      this.composer.setDeepThink(false);
      this.#showEmpty();
      this.shell.setTitle("New chat", null);
      if (matchMedia("(pointer: fine)").matches) this.composer.focus();
      return;
    }

    this.element.classList.remove("is-empty");
    replace(this.empty);
    replace(this.list, h("div", { class: "skeleton", role: "img", "aria-label": "Loading" }, h("i"), h("i"), h("i"), h("i")));
    let view;
    try {
      view = await call("GET", `/app/conversations/${id}`);
    } catch (refusal) {
      if (refusal.isHandled) return;
      replace(this.list, h("div", { class: "nothing" }, h("h2", null, refusal.status === 404 ? "Not found" : "This did not load"), h("p", null, refusal.message),
        refusal.status === 404 ? h("a", { class: "button primary", href: "/" }, "Begin a new chat") : h("button", { type: "button", class: "primary", onclick: () => this.open(id) }, "Try again")));
      this.composer.element.hidden = true;
      this.shell.setTitle(refusal.status === 404 ? "Not found" : "Hadal", null);
      return;
    }

    if (this.shell.at !== id) return; // gone elsewhere meanwhile
    replace(this.list);
    this.#show(view);
    this.composer.setDeepThink(this.#path().findLast(message => message.role === "user")?.deepThink ?? false);
    this.#toEnd(true);
    if (matchMedia("(pointer: fine)").matches) this.composer.focus();
  }

  /** The page is left: streams are let go, answers go on at the server. */
  leave() {
    this.#line?.abort();
    this.#line = null;
    for (const item of this.#items.values()) item.leave?.();
    this.#items.clear();
    replace(this.list);
  }

  /** Esc. Returns whether there was something to stop. */
  escape() {
    if (!this.composer.isBusy) return false;
    attempt(() => this.#stop());
    return true;
  }

  retitle(title) {
    if (this.view) this.view.title = title;
  }

  #showEmpty() {
    const { person } = currentSession();
    this.element.classList.add("is-empty");
    replace(this.empty, h("h2", null, `What is on your mind, ${person.fullName.split(" ")[0]}?`),
      h("p", null, "Ask plainly, or switch on DeepThink (R1) and the model thinks before it answers."),
      h("ul", { class: "examples" }, examples.map(([text, deepThink, what]) => h("li", null, h("button", { type: "button", onclick: () => {
        this.composer.setText(text);
        this.composer.setDeepThink(deepThink);
        this.composer.focus();
      } }, h("span", null, text), h("small", null, deepThink && icon("think"), what))))));
  }

  #show(view) {
    this.view = view;
    this.element.classList.remove("is-empty");
    replace(this.empty);
    this.shell.setTitle(view.title, view.id);
    const path = this.#path(), busy = path.at(-1)?.state === "running";
    const wanted = new Set(path.map(message => message.id));
    for (const [id, item] of this.#items) {
      if (wanted.has(id)) continue;
      item.leave?.();
      item.element.remove();
      this.#items.delete(id);
    }

    path.forEach((message, place) => {
      let item = this.#items.get(message.id);
      if (!item) {
        item = message.role === "user" ? new Question(this.actions) : new Answer(this.actions);
        this.#items.set(message.id, item);
      }

      if (this.list.children[place] !== item.element) this.list.insertBefore(item.element, this.list.children[place] ?? null);
      item.update(message, view.messages.filter(other => other.parentId === message.parentId && other.role === message.role).map(other => other.id), busy);
    });
    this.composer.setBusy(busy);
    this.composer.keepUnder(view.id);
    if (busy) this.#follow(path.at(-1));
  }

  // From the first question to the leaf that is shown.
  #path() {
    const byId = new Map(this.view.messages.map(message => [message.id, message]));
    const path = [];
    for (let at = byId.get(this.view.leafId); at && path.length <= byId.size; at = byId.get(at.parentId)) path.push(at);
    return path.reverse();
  }

  async #follow(message) {
    this.#line?.abort();
    const line = new AbortController(), { id } = this.view, item = this.#items.get(message.id);
    this.#line = line;
    try {
      await follow(`/app/conversations/${id}/messages/${message.id}/events`, event => {
        if (line.signal.aborted) return;
        if (event.kind !== "done") item.happen(event);
        else this.#done(event.message);
      }, line.signal);
    } catch (error) {
      if (line.signal.aborted) return;
      toast(error.message, { error: true });
      this.composer.setBusy(false);
    }
  }

  #done(message) {
    Object.assign(this.view.messages.find(other => other.id === message.id), message);
    this.#show(this.view);
    this.#toEnd(false);
  }

  async #say(text, deepThink) {
    const { view } = this;
    if (!view) {
      const made = await call("POST", "/app/conversations", { text, deepThink });
      if (this.view || this.shell.at !== null) {
        this.shell.refresh();
        return true;
      }

      this.shell.moved(made.id);
      this.#show(made);
    } else {
      this.#show(await call("POST", `/app/conversations/${view.id}/messages`, { text, deepThink, parentId: view.leafId }));
    }

    this.shell.refresh();
    this.#toEnd(true);
    announce("Sent");
    return true;
  }

  async #change(path, body) {
    const { id } = this.view;
    const view = await attempt(() => call("POST", `/app/conversations/${id}${path}`, body));
    if (!view || this.view?.id !== id) return false;
    this.#show(view);
    this.composer.setDeepThink(body.deepThink);
    this.shell.refresh();
    this.#toEnd(true);
    return true;
  }

  async #select(messageId) {
    const { id } = this.view, focus = document.activeElement?.dataset.way;
    const view = await attempt(() => call("PUT", `/app/conversations/${id}/leaf`, { messageId }));
    if (!view || this.view?.id !== id) return;
    this.#line?.abort();
    this.#show(view);
    const element = this.#items.get(messageId)?.element;
    const buttons = [...element?.querySelectorAll("[data-way]") ?? []];
    (buttons.find(button => button.dataset.way === focus && !button.disabled) ?? buttons.find(button => !button.disabled))?.focus();
    announce(element?.querySelector(".versions")?.textContent ?? "");
  }

  async #stop() {
    const running = this.view && this.#path().at(-1);
    if (running?.state === "running") await call("POST", `/app/conversations/${this.view.id}/messages/${running.id}/stop`, {});
  }

  #toEnd(always) {
    if (!always && !this.#sticks) return;
    this.#sticks = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
