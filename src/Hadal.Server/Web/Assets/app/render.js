// Texts to trees: the server reads Markdown, in batches; what was read a moment ago is remembered.
import { call } from "./api.js";

const MOST_TEXTS = 40, MOST_CHARACTERS = 400000, REMEMBERED = 400;
const known = new Map();
let waiting = [];

/** The blocks of a text: [{ start, node }]. */
export function read(text) {
  const before = known.get(text);
  if (before) return before;
  const answer = new Promise((resolve, reject) => {
    if (waiting.length === 0) setTimeout(send);
    waiting.push({ text, resolve, reject });
  });
  known.set(text, answer);
  answer.catch(() => known.delete(text));
  if (known.size > REMEMBERED) known.delete(known.keys().next().value);
  return answer;
}

function send() {
  const all = waiting;
  waiting = [];
  for (let at = 0; at < all.length;) {
    const batch = [];
    let characters = 0;
    while (at < all.length && batch.length < MOST_TEXTS && (batch.length === 0 || characters + all[at].text.length <= MOST_CHARACTERS)) {
      characters += all[at].text.length;
      batch.push(all[at++]);
    }

    call("POST", "/app/render", { texts: batch.map(one => one.text) }).then(
      ({ documents }) => batch.forEach((one, place) => one.resolve(documents[place])),
      error => batch.forEach(one => one.reject(error)));
  }
}
