// The way between pages.
import { currentSession, loadSession, whenSessionEnds } from "./api.js";
import { h, logo, replace } from "./dom.js";
import { toast } from "./notices.js";
import { ResetPage, SignInPage, SignUpPage } from "./accounts.js";
import { OperatorPage } from "./operator.js";
import { SettingsPage } from "./settings.js";
import { Shell } from "./shell.js";

const root = document.getElementById("app");
let shell = null;

export function navigate(address, { instead = false } = {}) {
  if (instead) history.replaceState(null, "", address);
  else if (address !== location.pathname + location.search) history.pushState(null, "", address);
  return show();
}

const doors = { "/sign-in": [SignInPage, "Sign in"], "/sign-up": [SignUpPage, "Sign up"], "/reset": [ResetPage, "New password"] };

async function show() {
  const path = location.pathname, { person } = currentSession();
  const door = doors[path];
  if (person && door) return navigate(nextOf(), { instead: true });
  if (!person && !door) return navigate(path === "/" ? "/sign-in" : `/sign-in?next=${encodeURIComponent(path)}`, { instead: true });
  if (door) {
    shell?.dispose();
    shell = null;
    const [Page, title] = door;
    document.title = `${title} · Hadal`;
    const page = new Page({ navigate, entered: () => navigate(nextOf(), { instead: true }), query: keepNext() });
    replace(root, h("div", { class: "door" }, h("header", null, h("a", { href: "/", class: "home" }, logo(), "Hadal")), h("main", { id: "main", tabindex: -1 }, page.element)));
    page.load?.();
    return undefined;
  }

  if (!shell) {
    shell = new Shell(navigate);
    replace(root, shell.element);
  }

  const conversation = /^\/c\/([^/]+)$/.exec(path);
  if (path === "/settings") return shell.showPage(new SettingsPage(shell), "Settings");
  if (path === "/operator") return shell.showPage(new OperatorPage(), "Operator");
  if (path !== "/" && !conversation) return shell.showPage({ element: nowhere() }, "Not found");
  return shell.showChat(conversation ? conversation[1] : null);
}

function nowhere() {
  return h("div", { class: "nothing" }, h("h2", null, "Not found"), h("p", null, "There is no page at this address."), h("a", { class: "button primary", href: "/" }, "Begin a new chat"));
}

// Where a person wanted to go before the door; only a page of this app.
function nextOf() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  return /^\/(?:c\/[0-9a-f-]+|settings|operator)?$/.test(next) ? next : "/";
}

function keepNext() {
  const next = nextOf();
  return next === "/" ? "" : `?next=${encodeURIComponent(next)}`;
}

document.addEventListener("click", event => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const { href } = link.attributes, address = href.value;
  if (link.hasAttribute("download") || link.target || !address.startsWith("/") || address.startsWith("/app/") || address.startsWith("/docs")) return;
  event.preventDefault();
  navigate(address);
});
document.addEventListener("keydown", event => shell?.press(event));
addEventListener("popstate", () => show());
whenSessionEnds(message => {
  if (doors[location.pathname]) return;
  toast(message, { error: true });
  show();
});

async function start() {
  try {
    await loadSession();
    await show();
  } catch (error) {
    replace(root, h("main", { id: "main", class: "nothing" }, h("h1", null, "Hadal did not load"), h("p", null, error.message),
      h("button", { type: "button", class: "primary", onclick: () => location.reload() }, "Try again")));
  }
}

start();
