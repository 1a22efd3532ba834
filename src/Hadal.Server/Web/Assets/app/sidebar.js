// The list of conversations: searched, renamed, exported, deleted.
import { call } from "./api.js";
import { announce, h, icon, iconButton, replace } from "./dom.js";
import { ask, attempt, confirm, menuButton, toast } from "./notices.js";

const DAY = 86400000;

function groupOf(time) {
  const today = new Date().setHours(0, 0, 0, 0), then = new Date(time).getTime();
  if (then >= today) return "Today";
  if (then >= today - DAY) return "Yesterday";
  if (then >= today - 7 * DAY) return "Last 7 days";
  if (then >= today - 30 * DAY) return "Last 30 days";
  return "Older";
}

export class Sidebar {
  #request = 0;
  #timer = 0;

  constructor(shell) {
    this.shell = shell;
    this.conversations = null;
    this.next = null;
    this.search = h("input", { type: "search", id: "search", placeholder: "Search", "aria-label": "Search conversations", "aria-keyshortcuts": "Control+K", autocomplete: "off", maxlength: 200 });
    this.search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.load(), 180);
    });
    this.search.addEventListener("keydown", event => {
      if (event.key === "Escape" && this.search.value !== "") {
        event.stopPropagation();
        this.search.value = "";
        this.load();
      } else if (event.key === "ArrowDown" || (event.key === "Enter" && this.search.value !== "")) {
        event.preventDefault();
        this.list.querySelector("a")?.focus();
      }
    });
    this.list = h("div", { class: "conversations" });
    this.element = h("div", { class: "sidebar-list" }, h("div", { class: "search" }, icon("search"), this.search, h("kbd", { "aria-hidden": "true" }, "Ctrl K")), this.list);
    replace(this.list, h("div", { class: "skeleton", role: "img", "aria-label": "Loading" }, h("i"), h("i"), h("i")));
  }

  /** Reads the list again: its first page. */
  async load() {
    const request = ++this.#request, search = this.search.value.trim();
    try {
      const page = await call("GET", `/app/conversations?search=${encodeURIComponent(search)}`);
      if (request !== this.#request) return;
      this.conversations = page.conversations;
      this.next = page.next;
      this.show();
      if (search !== "") announce(page.conversations.length === 0 ? "Nothing found" : `${page.conversations.length} found`);
    } catch (refusal) {
      if (request !== this.#request || refusal.isHandled) return;
      replace(this.list, h("p", { class: "none" }, refusal.message), h("button", { type: "button", class: "quiet", onclick: () => this.load() }, "Try again"));
    }
  }

  show() {
    if (!this.conversations) return;
    const searching = this.search.value.trim() !== "";
    if (this.conversations.length === 0) {
      replace(this.list, h("p", { class: "none" }, searching ? "No conversation has these words." : "Your conversations will be listed here."));
      return;
    }

    const parts = [];
    let group = null, items = null;
    for (const conversation of this.conversations) {
      const name = groupOf(conversation.updated);
      if (name !== group) {
        group = name;
        items = h("ul", { "aria-label": name });
        parts.push(h("h2", null, name), items);
      }

      items.append(this.#item(conversation));
    }

    if (this.next !== null) parts.push(h("button", { type: "button", class: "quiet wide", onclick: event => this.#more(event.target) }, "Show older ones"));
    const { scrollTop } = this.list;
    replace(this.list, parts);
    this.list.scrollTop = scrollTop;
  }

  #item(conversation) {
    const { id, title, excerpt } = conversation;
    return h("li", null,
      h("a", { href: `/c/${id}`, "aria-current": this.shell.at === id ? "page" : null, title }, h("span", { class: "title" }, title), excerpt && h("small", null, excerpt)),
      menuButton(iconButton("more", `Actions for ${title}`), `Actions for ${title}`, [
        ["Rename", "edit", () => this.rename(conversation)],
        ["Export as Markdown", "download", `/app/conversations/${id}/export?format=markdown`, { download: true }],
        ["Export as JSON", "download", `/app/conversations/${id}/export?format=json`, { download: true }],
        ["Delete", "trash", () => this.remove(conversation), { danger: true }],
      ]));
  }

  async rename(conversation) {
    const done = await ask("Rename the conversation", { label: "Title", value: conversation.title, verb: "Rename", maxlength: 120,
      work: title => call("PATCH", `/app/conversations/${conversation.id}`, { title }) });
    if (!done) return;
    conversation.title = done.value.replace(/\s+/g, " ").trim();
    this.show();
    this.shell.retitled(conversation.id, conversation.title);
  }

  async remove(conversation) {
    if (!await confirm("Delete the conversation?", `“${conversation.title}” and every version of its messages will be gone for good.`, "Delete", { danger: true })) return;
    const done = await attempt(async () => {
      await call("DELETE", `/app/conversations/${conversation.id}`);
      return true;
    });
    if (!done) return;
    this.conversations = this.conversations.filter(other => other !== conversation);
    this.show();
    toast("The conversation was deleted.");
    this.shell.removed(conversation.id);
  }

  async #more(button) {
    button.disabled = true;
    const page = await attempt(() => call("GET", `/app/conversations?search=${encodeURIComponent(this.search.value.trim())}&before=${this.next}`));
    button.disabled = false;
    if (!page) return;
    this.conversations.push(...page.conversations);
    this.next = page.next;
    this.show();
  }
}
