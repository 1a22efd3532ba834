// Toasts, dialogs, menus.
import { h, icon, iconButton } from "./dom.js";

/** A message at the edge that goes by itself; errors stay longer and are read out at once. */
export function toast(text, { error = false, action } = {}) {
  const place = document.getElementById("toasts");
  const close = () => box.remove();
  const box = h("div", { class: error ? "toast error" : "toast", role: error ? "alert" : "status" },
    icon(error ? "warning" : "check"), h("p", null, text),
    action && h("button", { type: "button", class: "link", onclick: () => { close(); action.run(); } }, action.label),
    iconButton("close", "Dismiss", close));
  while (place.children.length >= 3) place.firstChild.remove();
  place.append(box);
  setTimeout(close, error ? 12000 : 4000);
}

/** Runs something, and says in a toast what went wrong. Returns undefined then. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error?.name !== "AbortError" && !error?.isHandled) toast(error.message, { error: true });
    return undefined;
  }
}

function show(title, content, buttons, onclosed) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const form = h("form", { method: "dialog" }, heading, content, h("div", { class: "dialog-buttons" }, buttons));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
    onclosed?.();
  });
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, form };
}

/** Asks before something that cannot be taken back. Resolves to whether it was confirmed. */
export function confirm(title, text, verb, { danger = false } = {}) {
  return new Promise(resolve => {
    let answer = false;
    const { form, dialog } = show(title, h("p", null, text), [
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"),
      h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb),
    ], () => resolve(answer));
    form.addEventListener("submit", () => { answer = true; });
    form.querySelector(danger ? ".quiet" : "[type=submit]").focus();
  });
}

/** Asks for one line. The work may refuse it: its message stands under the field then. */
export function ask(title, { label, value = "", type = "text", verb, text, danger = false, autocomplete = "off", maxlength, work }) {
  return new Promise(resolve => {
    let answer;
    const input = h("input", { id: "dialog-field", type, value, autocomplete, maxlength, required: true, "aria-describedby": "dialog-error" });
    const error = h("p", { id: "dialog-error", class: "field-error", role: "alert" });
    const submit = h("button", { type: "submit", class: danger ? "danger" : "primary" }, verb);
    const { form, dialog } = show(title, [text && h("p", null, text), h("div", { class: "field" }, h("label", { for: "dialog-field" }, label), input, error)], [
      h("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Cancel"), submit,
    ], () => resolve(answer));
    form.addEventListener("submit", async event => {
      event.preventDefault();
      submit.disabled = true;
      error.textContent = "";
      try {
        const result = await work(input.value);
        answer = { value: input.value, result };
        dialog.close();
      } catch (refusal) {
        error.textContent = refusal.message;
        input.setAttribute("aria-invalid", "true");
        input.focus();
      } finally {
        submit.disabled = false;
      }
    });
    input.focus();
    input.select();
  });
}

/** Shows something with one button. */
export function tell(title, ...content) {
  return new Promise(resolve => {
    const { form } = show(title, content, h("button", { type: "submit", class: "primary" }, "Done"), resolve);
    form.querySelector("[type=submit]").focus();
  });
}

/** A button that opens a menu of [label, icon, action or address, options]. */
export function menuButton(button, label, items) {
  let menu = null;
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  const close = refocus => {
    if (!menu) return;
    menu.remove();
    menu = null;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", away);
    if (refocus) button.focus();
  };
  const outside = event => { if (!menu.contains(event.target) && !button.contains(event.target)) close(false); };
  const away = () => close(false);
  const item = ([text, picture, what, { danger, checked, download } = {}]) => {
    const inside = [icon(picture), h("span", null, text)];
    const attributes = { class: danger ? "danger" : "", role: checked === undefined ? "menuitem" : "menuitemradio", "aria-checked": checked === undefined ? null : String(checked), tabindex: -1 };
    return typeof what === "string"
      ? h("a", { ...attributes, href: what, download: download ? "" : null, onclick: () => close(true) }, inside)
      : h("button", { ...attributes, type: "button", onclick: () => { close(true); what(); } }, inside);
  };
  const open = () => {
    menu = h("div", { class: "menu", role: "menu", "aria-label": label }, (typeof items === "function" ? items() : items).map(item));
    menu.addEventListener("keydown", event => {
      const all = [...menu.children], at = all.indexOf(document.activeElement);
      if (event.key === "ArrowDown") all[(at + 1) % all.length].focus();
      else if (event.key === "ArrowUp") all[(at - 1 + all.length) % all.length].focus();
      else if (event.key === "Home") all[0].focus();
      else if (event.key === "End") all.at(-1).focus();
      else if (event.key === "Escape" || event.key === "Tab") close(true);
      else return;
      if (event.key !== "Tab") event.preventDefault();
      event.stopPropagation();
    });
    (button.closest("aside, main, dialog") ?? document.body).append(menu);
    const from = button.getBoundingClientRect(), size = menu.getBoundingClientRect();
    const below = from.bottom + 4 + size.height <= innerHeight - 8;
    menu.style.top = `${below ? from.bottom + 4 : Math.max(8, from.top - 4 - size.height)}px`;
    menu.style.left = `${Math.max(8, Math.min(from.left, innerWidth - size.width - 8))}px`;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside, true);
    addEventListener("resize", away);
    menu.firstChild.focus();
  };
  button.addEventListener("click", event => {
    event.preventDefault();
    event.stopPropagation();
    if (menu) close(true); else open();
  });
  return button;
}
