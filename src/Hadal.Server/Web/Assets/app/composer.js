// Where one writes: the field, the switch of the mode, and the button that sends or stops.
import { h, icon, replace } from "./dom.js";
import { attempt } from "./notices.js";

export class Composer {
  #busy = false;
  #sending = false;

  /** `send(text, deepThink)` resolves to whether it was taken; `stop()` stops the answer that is being written. */
  constructor({ send, stop, longest }) {
    this.send = send;
    this.stop = stop;
    this.longest = longest;
    this.area = h("textarea", { id: "say", rows: 1, placeholder: "Ask anything", "aria-label": "Message", "aria-describedby": "hint", enterkeyhint: matchMedia("(pointer: fine), (min-width: 760px)").matches ? "send" : "enter", autocomplete: "off" });
    this.mode = h("button", { type: "button", class: "toggle", "aria-pressed": "false", title: "Think first, then answer: slower, better at problems with steps", onclick: () => this.setDeepThink(!this.deepThink) },
      icon("think"), "DeepThink (R1)");
    this.count = h("span", { class: "count", role: "status" });
    this.button = h("button", { type: "submit", class: "send" });
    this.element = h("form", { class: "composer", "aria-label": "Write a message", onsubmit: event => {
      event.preventDefault();
      if (this.#busy) this.#stop(); else this.#send();
    } }, this.area, h("div", { class: "composer-row" }, this.mode, h("span", { class: "spring" }), this.count, this.button));
    this.area.addEventListener("input", () => this.#changed());
    this.area.addEventListener("keydown", event => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing && matchMedia("(pointer: fine), (min-width: 760px)").matches) {
        event.preventDefault();
        if (!this.#busy) this.#send();
      }
    });
    this.element.addEventListener("click", event => { if (event.target === this.element) this.area.focus(); });
    this.deepThink = false;
    this.#show();
  }

  setDeepThink(on) {
    this.deepThink = on;
    this.mode.setAttribute("aria-pressed", String(on));
  }

  /** Whether an answer is being written here. */
  setBusy(busy) {
    if (this.#busy === busy) return;
    const focused = document.activeElement === this.button;
    this.#busy = busy;
    this.#show();
    if (focused) (this.button.disabled ? this.area : this.button).focus();
  }

  get isBusy() { return this.#busy; }

  setText(text) {
    this.area.value = text;
    this.#changed();
  }

  /** Keeps what is written under a name while other pages are looked at. */
  keepUnder(name) {
    this.draft = `hadal.draft.${name}`;
    this.area.value = sessionStorage.getItem(this.draft) ?? "";
    this.#changed();
  }

  focus() { this.area.focus(); }

  async #send() {
    const text = this.area.value.trim();
    if (text === "" || text.length > this.longest || this.#sending) return;
    this.#sending = true;
    const draft = this.draft;
    this.#show();
    const sent = await attempt(() => this.send(text, this.deepThink));
    this.#sending = false;
    if (sent) {
      sessionStorage.removeItem(draft);
      if (this.area.value.trim() === text) this.area.value = "";
    }

    this.#changed();
  }

  async #stop() {
    this.button.disabled = true;
    await attempt(this.stop);
    this.#show();
  }

  #changed() {
    this.area.style.height = "auto";
    this.area.style.height = `${Math.min(this.area.scrollHeight, Math.max(120, innerHeight * 0.4))}px`;
    const { length } = this.area.value;
    this.count.textContent = length > this.longest * 0.9 ? `${length.toLocaleString("en")} of ${this.longest.toLocaleString("en")} characters` : "";
    this.count.classList.toggle("over", length > this.longest);
    if (this.draft) {
      if (length > 0) sessionStorage.setItem(this.draft, this.area.value);
      else sessionStorage.removeItem(this.draft);
    }

    this.#show();
  }

  #show() {
    const label = this.#busy ? "Stop the answer (Esc)" : "Send (Enter)";
    if (this.button.title !== label) {
      this.button.title = label;
      this.button.setAttribute("aria-label", this.#busy ? "Stop the answer" : "Send");
      this.button.classList.toggle("stop", this.#busy);
      replace(this.button, icon(this.#busy ? "stop" : "send"));
    }

    this.button.disabled = !this.#busy && (this.#sending || this.area.value.trim() === "" || this.area.value.length > this.longest);
  }
}
