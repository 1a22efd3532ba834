// Requests to the server, and who is signed in.

/** A refusal in the server's words; `field` names the field of the form that it is about. */
export class Refusal extends Error {
  constructor(message, status, field) {
    super(message);
    this.status = status;
    this.field = field ?? null;
  }
}

let session = null;
let ended = () => {};

/** What is done when the session has ended while the page was open. */
export function whenSessionEnds(action) {
  ended = action;
}

export function currentSession() {
  return session;
}

export async function loadSession() {
  session = await send("GET", "/app/session");
  return session;
}

/** A request that changes who is signed in: the answer is the new session. */
export async function enter(path, body) {
  session = await call("POST", path, body);
  return session;
}

/** A request in JSON, with the token of this page. */
export async function call(method, path, body) {
  if (!session) await loadSession();
  try {
    return await send(method, path, body);
  } catch (refusal) {
    if (refusal.status === 400 && refusal.field === "token") {
      // Signed in or out in another window: the token of this one is old.
      const before = session.person?.email;
      await loadSession();
      if (session.person?.email === before) return send(method, path, body);
      leave(refusal, "Your session has ended. Sign in again.");
    } else if (refusal.status === 401) {
      session = { ...session, person: null };
      leave(refusal, refusal.message);
    }

    throw refusal;
  }
}

function leave(refusal, message) {
  refusal.isHandled = true;
  if (session.person) location.reload(); // somebody else now: nothing of the one before may stay on the page
  else ended(message);
}

async function send(method, path, body) {
  let response;
  try {
    const headers = { "Accept": "application/json" };
    if (method !== "GET" && session) headers["X-Hadal-Token"] = session.token;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refusal("The server cannot be reached. Check your connection; nothing that was sent before is lost.", 0);
  }

  if (response.status === 204) return null;
  const text = await response.text();
  let value = null;
  try {
    value = text.length > 0 ? JSON.parse(text) : null;
  } catch {
    // a proxy answered in its own words
  }

  if (response.ok) return value;
  throw new Refusal(value?.message ?? `The server answered with status ${response.status}. Try again in a moment.`, response.status, value?.field);
}
