// Elements. Text always becomes a text node: nothing in this app parses markup, and the page's policy (trusted types) forbids it.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: h("button", { class: "primary", onclick: send, disabled: true }, "Send"). */
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) set(element, key, value);
  append(element, children);
  return element;
}

function set(element, key, value) {
  if (value === undefined || value === null || value === false) return;
  if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
  else if (key === "value" || key === "checked") element[key] = value;
  else if (key === "style" || key === "srcdoc") throw new Error(`${key} is not set here`);
  else element.setAttribute(key, value === true ? "" : String(value));
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

// Drawn on a grid of 24, strokes of 1.75.
const paths = {
  menu: ["M4 7h16", "M4 12h16", "M4 17h10"],
  plus: ["M12 5v14", "M5 12h14"],
  search: ["M11 4a7 7 0 1 0 0 14a7 7 0 0 0 0-14z", "M16.2 16.2L20 20"],
  close: ["M6 6l12 12", "M18 6L6 18"],
  more: ["M5.5 12h.01", "M12 12h.01", "M18.5 12h.01"],
  send: ["M12 19V5", "M6 11l6-6l6 6"],
  stop: ["M8 8h8v8H8z"],
  copy: ["M9 9h10v11H9z", "M5 15V4h10"],
  check: ["M5 12.5l4.5 4.5L19 7.5"],
  again: ["M19 12a7 7 0 1 1-2.2-5.1", "M19.2 4v4.2H15"],
  edit: ["M5 19l1-4L15.5 5.5l3 3L9 18z", "M13.5 7.5l3 3"],
  left: ["M14 6l-6 6l6 6"],
  right: ["M10 6l6 6l-6 6"],
  down: ["M12 5v14", "M6 13l6 6l6-6"],
  fold: ["M7 10l5 5l5-5"],
  think: ["M4 8c2.7-2.5 5.3-2.5 8 0s5.3 2.5 8 0", "M6.5 13c1.8-2 3.7-2 5.5 0s3.7 2 5.5 0", "M9.5 18c.8-1.3 1.7-1.3 2.5 0s1.7 1.3 2.5 0"],
  settings: ["M4 7h9", "M17 7h3", "M15 5v4", "M4 12h3", "M11 12h9", "M9 10v4", "M4 17h9", "M17 17h3", "M15 15v4"],
  gauge: ["M5 18a8.5 8.5 0 1 1 14 0", "M12 14l4-5"],
  leave: ["M10 5H5v14h5", "M10 12h10", "M16.5 8.5L20 12l-3.5 3.5"],
  trash: ["M5 7h14", "M9 7V4.5h6V7", "M7 7l1 13h8l1-13"],
  download: ["M12 4v11", "M7 11l5 5l5-5", "M5 20h14"],
  key: ["M8 9a4 4 0 1 0 0 6.9a4 4 0 0 0 0-6.9z", "M11.5 12.5H21", "M17.5 12.5v4"],
  warning: ["M12 4L21 19.5H3z", "M12 10v4.5", "M12 17h.01"],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of paths[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }

  return svg;
}

/** A button that shows an icon and says a name. */
export function iconButton(name, label, onclick, more) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...more }, icon(name));
}

export function logo() {
  return h("img", { class: "logo", src: "/assets/icon.svg", alt: "", width: 28, height: 28 });
}

/** Says something to screen readers alone. */
export function announce(text) {
  const place = document.getElementById("announcer");
  place.textContent = "";
  requestAnimationFrame(() => { place.textContent = text; });
}

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);

  // A page over plain http has no clipboard; the old way still works.
  const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: -1 });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  before?.focus?.();
  if (!copied) throw new Error("The browser does not allow copying here. Select the text and copy it by hand.");
}
