// Forms: fields with labels and messages, one request each.
import { h } from "./dom.js";

/** A labelled field; `hint` stands below it until there is an error. */
export function field(name, label, attributes, hint) {
  const input = h("input", { id: `field-${name}`, name, "aria-describedby": `about-${name}`, ...attributes });
  return h("div", { class: "field" }, h("label", { for: `field-${name}` }, label), input, h("p", { class: "field-about", id: `about-${name}` }, hint));
}

/** A password field with a button that shows what was typed. */
export function passwordField(name, label, autocomplete, hint) {
  const element = field(name, label, { type: "password", autocomplete, required: true, maxlength: 200 }, hint);
  const input = element.querySelector("input");
  const button = h("button", { type: "button", class: "reveal", "aria-pressed": "false", "aria-label": `Show the ${label.toLowerCase()}`, onclick: () => {
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    button.setAttribute("aria-pressed", String(!shown));
    button.textContent = shown ? "Show" : "Hide";
  } }, "Show");
  const both = h("div", { class: "with-button" });
  input.replaceWith(both);
  both.append(input, button);
  return element;
}

/** A form that runs `work(values)`; a refusal stands at its field, or above the button. */
export function form({ title, verb, fields, work, danger = false }) {
  const general = h("p", { class: "form-error", role: "alert" });
  const button = h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
  const hints = new Map();
  const element = h("form", { class: "form", novalidate: true, "aria-label": title, onsubmit: async event => {
    event.preventDefault();
    clear();
    button.disabled = true;
    button.classList.add("working");
    try {
      await work(Object.fromEntries(new FormData(element)));
    } catch (refusal) {
      const input = refusal.field ? element.elements[refusal.field] : null;
      if (input) mark(input, refusal.message);
      else general.textContent = refusal.message;
    } finally {
      button.disabled = false;
      button.classList.remove("working");
    }
  } }, fields, general, h("div", { class: "form-buttons" }, button));

  function mark(input, message) {
    const about = document.getElementById(input.getAttribute("aria-describedby"));
    if (!hints.has(about)) hints.set(about, [...about.childNodes]);
    about.replaceChildren(message);
    about.classList.add("field-error");
    about.setAttribute("role", "alert");
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }

  function clear() {
    general.textContent = "";
    for (const [about, nodes] of hints) {
      about.replaceChildren(...nodes);
      about.classList.remove("field-error");
      about.removeAttribute("role");
    }

    for (const input of element.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }

  return element;
}
