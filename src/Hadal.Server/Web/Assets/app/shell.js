// The frame around what a signed-in person sees: the sidebar, the top bar, and one page inside.
import { currentSession, enter } from "./api.js";
import { h, icon, iconButton, logo, replace } from "./dom.js";
import { attempt, menuButton, tell } from "./notices.js";
import { ChatPage } from "./chat.js";
import { Sidebar } from "./sidebar.js";
import { currentTheme, setTheme, themes } from "./theme.js";

const narrow = matchMedia("(max-width: 759px)");

const shortcuts = [
  ["Enter", "Send"], ["Shift + Enter", "New line"], ["Esc", "Stop the answer"], ["Ctrl + K", "Search conversations"], ["Ctrl + Shift + O", "New chat"],
  ["Ctrl + Shift + D", "Switch DeepThink (R1)"], ["Ctrl + /", "Show these shortcuts"],
];

export class Shell {
  constructor(navigate) {
    this.navigate = navigate;
    this.at = undefined; // the conversation that is shown; null: a new one; undefined: another page
    this.sidebar = new Sidebar(this);
    this.chat = new ChatPage(this);
    this.page = null;
    const { person } = currentSession();
    this.account = menuButton(h("button", { type: "button", class: "account" }, h("span", { class: "avatar", "aria-hidden": "true" }, initials(person.fullName)), h("span", { class: "who" }, person.fullName)), "Account", () => [
      ["Settings", "settings", "/settings"],
      ...currentSession().person.isOperator ? [["Operator", "gauge", "/operator"]] : [],
      ...themes.map(([key, name]) => [`${name} theme`, key === currentTheme() ? "check" : "more", () => setTheme(key), { checked: key === currentTheme() }]),
      ["Sign out", "leave", () => this.#signOut()],
    ]);
    this.aside = h("aside", { id: "sidebar", "aria-label": "Conversations" },
      h("div", { class: "brand" }, h("a", { href: "/", class: "home" }, logo(), "Hadal"), iconButton("close", "Close the list", () => this.#drawer(false), { class: "icon-button only-narrow" })),
      h("a", { href: "/", class: "button new-chat" }, icon("plus"), "New chat"), h("nav", { "aria-label": "Conversations" }, this.sidebar.element), this.account);
    this.opener = iconButton("menu", "Open the list of conversations", () => this.#drawer(true), { class: "icon-button only-narrow", "aria-controls": "sidebar", "aria-expanded": "false" });
    this.title = h("h1", { class: "bar-title" });
    this.main = h("main", { id: "main", tabindex: -1 });
    this.shade = h("div", { class: "shade", onclick: () => this.#drawer(false) });
    this.element = h("div", { class: "shell" }, this.aside, this.shade,
      h("div", { class: "content" }, h("header", { class: "bar" }, this.opener, this.title, h("a", { href: "/", class: "icon-button only-narrow", "aria-label": "New chat", title: "New chat" }, icon("plus"))), this.main));
    narrow.addEventListener("change", () => this.#drawer(false));
    this.#drawer(false);
    this.sidebar.load();
  }

  async showChat(id) {
    this.#leavePage();
    this.at = id;
    if (this.chat.element.parentNode !== this.main) replace(this.main, this.chat.element);
    this.#moved();
    await this.chat.open(id);
  }

  async showPage(page, title) {
    this.#leavePage();
    this.at = undefined;
    this.chat.leave();
    this.chat.view = null;
    this.page = page;
    replace(this.main, h("div", { class: "scroller", tabindex: 0 }, page.element));
    this.setTitle(title, null);
    this.#moved();
    this.main.focus({ preventScroll: true });
    await page.load?.();
  }

  setTitle(title, id) {
    this.title.textContent = title;
    this.titleOf = id;
    document.title = title === "Hadal" || title === "New chat" ? "Hadal" : `${title} · Hadal`;
  }

  /** A new conversation has got its address. */
  moved(id) {
    this.at = id;
    history.pushState(null, "", `/c/${id}`);
  }

  refresh() { this.sidebar.load(); }

  renamed(fullName) {
    this.account.querySelector(".avatar").textContent = initials(fullName);
    this.account.querySelector(".who").textContent = fullName;
  }

  retitled(id, title) {
    if (this.at !== id) return;
    this.chat.retitle(title);
    this.setTitle(title, id);
  }

  removed(id) {
    if (id === this.at || id === null) this.navigate("/");
  }

  /** A key pressed anywhere. */
  press(event) {
    if (document.querySelector("dialog[open]")) return;
    const control = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") {
      if (this.element.classList.contains("drawer-open")) this.#drawer(false);
      else if (this.at !== undefined && !this.chat.escape()) return;
    } else if (control && !event.shiftKey && event.key.toLowerCase() === "k") {
      this.#drawer(true);
      this.sidebar.search.focus();
      this.sidebar.search.select();
    } else if (control && event.shiftKey && event.key.toLowerCase() === "o") {
      this.navigate("/");
    } else if (control && event.shiftKey && event.key.toLowerCase() === "d" && this.at !== undefined) {
      this.chat.composer.setDeepThink(!this.chat.composer.deepThink);
    } else if (control && event.key === "/") {
      tell("Keyboard", h("dl", { class: "shortcuts" }, shortcuts.map(([keys, what]) => h("div", null, h("dt", null, keys.split(" + ").map((key, at) => [at > 0 && " + ", h("kbd", null, key)])), h("dd", null, what)))));
    } else {
      return;
    }

    event.preventDefault();
  }

  dispose() {
    this.#leavePage();
    this.chat.leave();
  }

  #leavePage() {
    this.page?.leave?.();
    this.page = null;
  }

  #moved() {
    this.#drawer(false);
    this.sidebar.show();
  }

  // On a narrow screen the sidebar lies over the page, and what lies under it cannot be reached.
  #drawer(open) {
    const over = narrow.matches, was = this.element.classList.contains("drawer-open");
    this.element.classList.toggle("drawer-open", open && over);
    this.aside.inert = over && !open;
    this.element.querySelector(".content").inert = over && open;
    this.opener.setAttribute("aria-expanded", String(over && open));
    if (over && open) this.aside.querySelector(".only-narrow").focus();
    else if (over && was) this.opener.focus();
  }

  async #signOut() {
    if (await attempt(() => enter("/app/accounts/sign-out", {}))) this.navigate("/sign-in");
  }
}

function initials(name) {
  const words = name.trim().split(/\s+/);
  return [words[0], words.length > 1 ? words.at(-1) : ""].map(word => [...word][0] ?? "").join("").toUpperCase();
}

