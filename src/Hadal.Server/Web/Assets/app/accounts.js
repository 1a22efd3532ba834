// Sign-in, sign-up, and a new password.
import { call, currentSession, enter } from "./api.js";
import { h, replace } from "./dom.js";
import { field, form, passwordField } from "./forms.js";
import { attempt, toast } from "./notices.js";

const email = value => field("email", "E-mail", { type: "email", autocomplete: "username", inputmode: "email", required: true, maxlength: 254, autocapitalize: "none", spellcheck: "false", value });
const password = label => passwordField("password", label, "new-password", `At least ${currentSession().limits.password} characters. A few words are good.`);

class DoorPage {
  constructor(context) {
    this.context = context;
    this.element = h("section", { class: "card" });
  }

  load() {
    (this.element.querySelector("input[value=''], input:not([value])") ?? this.element.querySelector("input"))?.focus();
  }
}

export class SignInPage extends DoorPage {
  constructor(context) {
    super(context);
    replace(this.element, h("h1", null, "Welcome back"),
      form({ title: "Sign in", verb: "Sign in", fields: [email(), passwordField("password", "Password", "current-password")], work: async values => {
        await enter("/app/accounts/sign-in", values);
        context.entered();
      } }),
      h("p", { class: "aside" }, h("a", { href: `/reset${context.query}` }, "Forgot your password?")),
      h("p", { class: "aside" }, "New here? ", h("a", { href: `/sign-up${context.query}` }, "Create an account")));
  }
}

// A ticket is kept while this tab lives: a reload in between loses nothing.
function keep(name, value) {
  if (value) sessionStorage.setItem(`hadal.${name}`, JSON.stringify(value));
  else sessionStorage.removeItem(`hadal.${name}`);
}

function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(`hadal.${name}`));
  } catch {
    return null;
  }
}

function codeField() {
  return field("code", "Code", { class: "code-input", inputmode: "numeric", autocomplete: "one-time-code", required: true, maxlength: 9, placeholder: "000000" }, "Six digits. It is valid for 15 minutes.");
}

function whereTheCodeIs(begun) {
  if (currentSession().registration.usesOutbox) {
    return [h("p", null, "This server has no mail server, so the code for ", h("strong", null, begun.email), " waits on the machine it runs on. There, this shows it:"), h("pre", { class: "command", tabindex: 0, "aria-label": "Command" }, h("code", null, "hadal serve outbox"))];
  }

  return [h("p", null, "We sent a code to ", h("strong", null, begun.email), ". Look into the spam folder too."),
    begun.mailDelayed && h("p", { class: "notice", role: "status" }, "The mail server does not answer at the moment. Your code is kept and will be sent as soon as it does; this page can stay open.")];
}

function again(begun, name) {
  const button = h("button", { type: "button", class: "link", onclick: async () => {
    button.disabled = true;
    const answer = await attempt(() => call("POST", "/app/accounts/resend", { ticket: begun.ticket }));
    if (answer) toast(answer.mailDelayed ? "A new code waits for the mail server." : "A new code is on its way; the one before no longer counts.");
    keep(name, begun);
    button.disabled = false;
  } }, "Send a new code");
  return button;
}

function closed(context, refusal) {
  return [h("h1", null, "Sign-up is closed"), h("p", { class: "notice" }, refusal), h("p", { class: "aside" }, h("a", { href: `/sign-in${context.query}` }, "Back to sign in"))];
}

export class SignUpPage extends DoorPage {
  constructor(context) {
    super(context);
    const { registration } = currentSession(), begun = kept("sign-up");
    if (registration.refusal) replace(this.element, closed(context, registration.refusal));
    else if (begun) this.#code(begun);
    else this.#begin();
  }

  #begin(values = {}) {
    replace(this.element, h("h1", null, "Create your account"),
      form({ title: "Sign up", verb: "Continue", fields: [
        email(values.email), field("fullName", "Full name", { autocomplete: "name", required: true, maxlength: 100, value: values.fullName }), password("Password"),
      ], work: async entered => {
        const answer = await call("POST", "/app/accounts/sign-up", entered);
        const begun = { ticket: answer.ticket, mailDelayed: answer.mailDelayed, email: entered.email.trim(), fullName: entered.fullName };
        keep("sign-up", begun);
        this.#code(begun);
        this.load();
      } }),
      h("p", { class: "aside" }, "You have an account? ", h("a", { href: `/sign-in${this.context.query}` }, "Sign in")));
  }

  #code(begun) {
    replace(this.element, h("h1", null, "Enter your code"), whereTheCodeIs(begun),
      form({ title: "Enter your code", verb: "Create account", fields: [codeField()], work: async ({ code }) => {
        await enter("/app/accounts/verify", { ticket: begun.ticket, code });
        keep("sign-up", null);
        this.context.entered();
      } }),
      h("p", { class: "aside" }, again(begun, "sign-up"), " · ", h("button", { type: "button", class: "link", onclick: () => {
        keep("sign-up", null);
        this.#begin(begun);
        this.load();
      } }, "Change the address")));
  }
}

export class ResetPage extends DoorPage {
  constructor(context) {
    super(context);
    const { registration } = currentSession(), begun = kept("reset");
    if (registration.refusal) replace(this.element, closed(context, registration.refusal));
    else if (begun) this.#code(begun);
    else this.#begin();
  }

  #begin(value) {
    replace(this.element, h("h1", null, "A new password"), h("p", null, "A code goes to your address; with it you choose a new password."),
      form({ title: "New password", verb: "Send the code", fields: [email(value)], work: async entered => {
        const answer = await call("POST", "/app/accounts/reset", entered);
        const begun = { ticket: answer.ticket, mailDelayed: answer.mailDelayed, email: entered.email.trim() };
        keep("reset", begun);
        this.#code(begun);
        this.load();
      } }),
      h("p", { class: "aside" }, h("a", { href: `/sign-in${this.context.query}` }, "Back to sign in")));
  }

  #code(begun) {
    replace(this.element, h("h1", null, "Choose a new password"), whereTheCodeIs(begun),
      form({ title: "Choose a new password", verb: "Set the password", fields: [codeField(), password("New password")], work: async entered => {
        await enter("/app/accounts/reset/confirm", { ticket: begun.ticket, ...entered });
        keep("reset", null);
        toast("The new password counts. Every other session was signed out.");
        this.context.entered();
      } }),
      h("p", { class: "aside" }, again(begun, "reset"), " · ", h("button", { type: "button", class: "link", onclick: () => {
        keep("reset", null);
        this.#begin(begun.email);
        this.load();
      } }, "Change the address")));
  }
}
