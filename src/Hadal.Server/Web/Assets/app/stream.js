// The events of an answer. It belongs to the server: a lost line is taken up again at the event where it was lost.

const SILENCE = 45000; // the server sends a sign of life every 15 s
const PAUSES = [300, 1000, 2000, 4000, 8000];

/**
 * Hands every event of an answer to `handle` until the last, "done". Between them it may hand over { kind: "lost" } and { kind: "found" }.
 * Ends early, without an event, when the signal says so; throws when the server refuses.
 */
export async function follow(path, handle, signal) {
  let from = 0, losses = 0;
  while (!signal.aborted) {
    const line = new AbortController();
    const cut = () => line.abort();
    signal.addEventListener("abort", cut, { once: true });
    try {
      const response = await fetch(`${path}?from=${from}`, { headers: { "Accept": "text/event-stream" }, signal: line.signal, credentials: "same-origin" });
      if (response.status >= 400 && response.status < 500 && response.status !== 429) {
        const refusal = new Error((await response.json().catch(() => null))?.message ?? "The answer can no longer be read. Reload the page.");
        refusal.isRefusal = true;
        throw refusal;
      }

      if (!response.ok) throw new Error(`status ${response.status}`);
      if (losses > 0) handle({ kind: "found" });
      losses = 0;
      for await (const [next, event] of read(response.body, cut)) {
        if (signal.aborted) return;
        from = next;
        handle(event);
        if (event.kind === "done") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.isRefusal) throw error;
    } finally {
      signal.removeEventListener("abort", cut);
    }

    if (losses++ === 0) handle({ kind: "lost" });
    await pause(PAUSES[Math.min(losses, PAUSES.length) - 1], signal);
  }
}

async function* read(body, cut) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", watch;
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(cut, SILENCE);
  };
  try {
    while (true) {
      alive();
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      let end;
      while ((end = rest.indexOf("\n\n")) >= 0) {
        const event = parse(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    clearTimeout(watch);
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  let next = 0, data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("id: ")) next = Number(line.slice(4));
    else if (line.startsWith("data: ")) data += line.slice(6);
  }

  return data.length > 0 ? [next, JSON.parse(data)] : null;
}

function pause(milliseconds, signal) {
  return new Promise(resolve => {
    const go = () => {
      clearTimeout(timer);
      removeEventListener("online", go);
      signal.removeEventListener("abort", go);
      resolve();
    };
    const timer = setTimeout(go, milliseconds);
    addEventListener("online", go);
    signal.addEventListener("abort", go);
  });
}
