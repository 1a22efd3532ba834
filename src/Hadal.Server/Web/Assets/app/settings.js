// Settings: the person, the password, keys to the API, sessions, data.
import { call, currentSession, enter } from "./api.js";
import { copyText, h, icon, iconButton, replace } from "./dom.js";
import { field, form, passwordField } from "./forms.js";
import { ask, attempt, confirm, tell, toast } from "./notices.js";
import { currentTheme, setTheme, themes } from "./theme.js";

const day = time => new Date(time).toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });

export class SettingsPage {
  constructor(shell) {
    this.shell = shell;
    this.keys = h("div", { class: "keys" }, h("div", { class: "skeleton", role: "img", "aria-label": "Loading" }, h("i"), h("i")));
    const { person } = currentSession();
    this.element = h("div", { class: "page" },
      section("Account", h("p", { class: "about" }, `${person.email}, since ${day(person.created)}`), form({ title: "Your name", verb: "Save", fields: [field("fullName", "Full name", { autocomplete: "name", maxlength: 100, value: person.fullName })],
        work: async values => {
          const session = await enter("/app/accounts/name", values);
          shell.renamed(session.person.fullName);
          toast("Your name was saved.");
        } })),
      section("Appearance", h("div", { class: "segments", role: "radiogroup", "aria-label": "Theme" }, themes.map(([key, name]) => h("label", null,
        h("input", { type: "radio", name: "theme", value: key, checked: currentTheme() === key, onchange: () => setTheme(key) }), h("span", null, name))))),
      section("API keys", h("p", { class: "about" }, "With a key, programs use this server as they use DeepSeek's or OpenAI's API. The address is ", h("code", null, `${location.origin}/v1`), "; ", h("a", { href: "/docs" }, "its description"), "."),
        this.keys, h("button", { type: "button", class: "button", onclick: () => this.#makeKey() }, icon("plus"), "New key")),
      section("Password", this.#password()),
      section("Sessions", h("p", { class: "about" }, "Signs you out in every browser, this one included."),
        h("button", { type: "button", class: "button", onclick: () => this.#signOutEverywhere() }, icon("leave"), "Sign out everywhere")),
      section("Your data", h("p", { class: "about" }, "Everything that is kept about you here, as one JSON file."),
        h("a", { class: "button", href: "/app/accounts/export", download: "" }, icon("download"), "Export my data"),
        h("hr"), h("p", { class: "about" }, "These cannot be taken back."),
        h("div", { class: "buttons" }, h("button", { type: "button", class: "button danger-text", onclick: () => this.#deleteConversations() }, icon("trash"), "Delete all conversations"),
          h("button", { type: "button", class: "button danger-text", onclick: () => this.#deleteAccount() }, icon("trash"), "Delete my account and data"))));
  }

  async load() {
    const keys = await attempt(() => call("GET", "/app/keys"));
    if (!keys) {
      replace(this.keys, h("p", { class: "none" }, "Your keys did not load. ", h("button", { type: "button", class: "link", onclick: () => this.load() }, "Try again")));
      return;
    }

    if (keys.length === 0) replace(this.keys, h("p", { class: "none" }, "You have no key yet."));
    else replace(this.keys, h("ul", { "aria-label": "Your keys" }, keys.map(key => h("li", null, icon("key"),
      h("div", null, h("strong", null, key.name), h("small", null, h("code", null, `${key.prefix}…`), ` made ${day(key.created)}, ${key.lastUsed ? `last used ${day(key.lastUsed)}` : "never used"}`, limitsOf(key))),
      iconButton("trash", `Revoke ${key.name}`, () => this.#revoke(key))))));
  }

  #password() {
    const { limits } = currentSession();
    const element = form({ title: "Change the password", verb: "Change the password", fields: [
      h("input", { type: "email", name: "username", autocomplete: "username", value: currentSession().person.email, hidden: true }),
      passwordField("current", "Current password", "current-password"), passwordField("password", "New password", "new-password", `At least ${limits.password} characters. Other sessions will end.`),
    ], work: async ({ current, password }) => {
      await enter("/app/accounts/password", { current, password });
      element.reset();
      toast("The password was changed. Every other session was signed out.");
    } });
    return element;
  }

  async #makeKey() {
    const made = await ask("A new key", { label: "Name", verb: "Make the key", text: "A name by which you will know it, such as the program that uses it.", maxlength: 100, work: name => call("POST", "/app/keys", { name }) });
    if (!made) return;
    await this.load();
    const { secret } = made.result, shown = h("code", { class: "secret", tabindex: 0 }, secret);
    const button = h("button", { type: "button", class: "quiet", onclick: async () => {
      if (await attempt(async () => { await copyText(secret); return true; })) button.replaceChildren(icon("check"), "Copied");
    } }, icon("copy"), "Copy");
    await tell("Your new key", h("p", null, "Copy it now: it is shown this once, and the server keeps only a hash of it."), h("div", { class: "secret-row" }, shown, button));
  }

  async #revoke(key) {
    if (!await confirm("Revoke the key?", `Programs that use “${key.name}” will be refused from now on.`, "Revoke", { danger: true })) return;
    const done = await attempt(async () => { await call("DELETE", `/app/keys/${key.id}`); return true; });
    if (done) toast("The key was revoked.");
    await this.load();
  }

  async #signOutEverywhere() {
    if (!await confirm("Sign out everywhere?", "You will be signed out in every browser, this one included.", "Sign out")) return;
    if (await attempt(() => enter("/app/accounts/sign-out-everywhere", {}))) this.shell.navigate("/sign-in");
  }

  async #deleteConversations() {
    if (!await confirm("Delete all conversations?", "Every conversation of yours will be gone for good.", "Delete all", { danger: true })) return;
    const done = await attempt(async () => { await call("DELETE", "/app/conversations"); return true; });
    if (!done) return;
    this.shell.refresh();
    toast("Your conversations were deleted.");
  }

  async #deleteAccount() {
    const done = await ask("Delete your account?", { label: "Your password", type: "password", autocomplete: "current-password", verb: "Delete everything", danger: true,
      text: "Your account, your conversations and your keys will be gone for good.", work: password => enter("/app/accounts/delete", { password }) });
    if (!done) return;
    toast("Your account and everything in it was deleted.");
    this.shell.navigate("/sign-up");
  }
}

function section(title, ...content) {
  const id = `section-${title.toLowerCase().replace(/\W+/g, "-")}`;
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), h("div", null, content));
}

function limitsOf(key) {
  const limits = [key.requestsPerMinute && `${key.requestsPerMinute} requests a minute`, key.tokensPerDay && `${key.tokensPerDay.toLocaleString("en")} tokens a day`].filter(Boolean);
  return limits.length > 0 ? `; at most ${limits.join(", ")}` : "";
}
