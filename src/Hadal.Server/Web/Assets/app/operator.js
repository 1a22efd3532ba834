// The operator's page: load, queue, cache, experts. Sums and loads, never what people write.
import { call } from "./api.js";
import { h, replace } from "./dom.js";

const PAUSE = 3000;
const whole = number => Math.round(number).toLocaleString("en");

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) {
    count /= 1024;
    at++;
  }

  return `${count.toFixed(at > 1 ? 1 : 0)} ${units[at]}`;
}

function span(milliseconds) {
  const minutes = Math.floor(milliseconds / 60000);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export class OperatorPage {
  #timer = 0;
  #before = new Map();

  constructor() {
    this.element = h("div", { class: "page wide-page" }, h("div", { class: "skeleton", role: "img", "aria-label": "Loading" }, h("i"), h("i"), h("i")));
  }

  async load() {
    try {
      this.#show(await call("GET", "/app/operator"));
    } catch (refusal) {
      if (refusal.isHandled || this.isLeft) return;
      replace(this.element, h("div", { class: "nothing" }, h("h2", null, refusal.status === 404 ? "Not found" : "This did not load"), h("p", null, refusal.message)));
      if (refusal.status === 404) return;
    }

    if (!this.isLeft) this.#timer = setTimeout(() => this.load(), document.hidden ? PAUSE * 4 : PAUSE);
  }

  leave() {
    this.isLeft = true;
    clearTimeout(this.#timer);
  }

  #show(now) {
    replace(this.element,
      h("section", { "aria-label": "Server" }, h("dl", { class: "tiles" },
        tile("Answers being written", whole(now.answers)), tile("People", whole(now.people)), tile("Conversations", whole(now.conversations)), tile("Messages", whole(now.messages)),
        tile("Memory", bytes(now.memory)), tile("Up for", span(Date.now() - new Date(now.started))),
        tile("Mail waiting", whole(now.mailWaiting), now.mailFailing ? "the mail server fails" : null))),
      now.engines.map((engine, at) => this.#engine(engine, at)));
  }

  #engine(engine, at) {
    const of = engine.statistics, time = performance.now(), before = this.#before.get(at);
    const rate = before ? Math.max(0, (of.generatedTokens - before.generated) / (time - before.time) * 1000) : null;
    this.#before.set(at, { generated: of.generatedTokens, time });
    const free = Math.max(0, of.pages - of.pagesInUse - of.pagesCached);
    return h("section", { class: "engine", "aria-label": engine.name }, h("h2", null, engine.name, h("small", null, ` reads ${whole(engine.maxPositions)} tokens; ${engine.fingerprint.slice(0, 12)}`)),
      h("dl", { class: "tiles" },
        tile("Waiting in line", whole(of.queued)), tile("Being generated", whole(of.running)), tile("Tokens per second", rate === null ? "…" : rate.toFixed(rate < 10 ? 1 : 0)),
        tile("Requests finished", whole(of.finished), of.cancelled > 0 ? `${whole(of.cancelled)} given up by their caller` : null),
        tile("Prompt tokens", whole(of.promptTokens), of.promptTokens > 0 ? `${(100 * of.cachedTokens / of.promptTokens).toFixed(0)} % from the cache` : null),
        tile("Generated tokens", whole(of.generatedTokens), of.preempted > 0 ? `${whole(of.preempted)} put aside for want of pages` : null),
        of.draftedTokens > 0 && tile("Drafts accepted", `${(100 * of.acceptedTokens / of.draftedTokens).toFixed(0)} %`, `of ${whole(of.draftedTokens)}`)),
      of.pages > 0 && [h("h3", null, "Cache"), bar([["in use", of.pagesInUse, "used"], ["cached prefixes", of.pagesCached, "cached"], ["free", free, "free"]], of.pages, "pages")],
      of.expertLoad.length > 0 && [h("h3", null, "Experts"), h("p", { class: "about" }, "Share of the tokens of each expert, in a row per layer: the darker, the busier. 1.0 is an even share."), experts(of.expertLoad)]);
  }
}

function tile(label, value, more) {
  return h("div", null, h("dt", null, label), h("dd", null, value, more && h("small", null, more)));
}

function bar(parts, total, unit) {
  const words = parts.map(([name, count]) => `${whole(count)} ${unit} ${name}`).join(", ");
  const strip = h("div", { class: "strip", role: "img", "aria-label": words });
  for (const [, count, kind] of parts) {
    const piece = h("i", { class: kind });
    piece.style.flexGrow = String(count / total);
    strip.append(piece);
  }

  return [strip, h("p", { class: "legend" }, parts.map(([name, count, kind]) => h("span", null, h("i", { class: kind }), `${whole(count)} ${name}`)))];
}

function experts(load) {
  return h("div", { class: "experts", tabindex: 0, role: "group", "aria-label": "Experts by layer" }, load.map((row, layer) => {
    const mean = row.reduce((sum, count) => sum + count, 0) / row.length || 1;
    const top = row.indexOf(Math.max(...row));
    return h("div", { class: "experts-row" }, h("span", null, `Layer ${layer + 1}`),
      h("div", { class: "cells", role: "img", "aria-label": `Layer ${layer + 1}: the busiest is expert ${top + 1} with ${(row[top] / mean).toFixed(1)} times an even share` }, row.map((count, expert) => {
        const cell = h("i", { title: `Expert ${expert + 1}: ${(count / mean).toFixed(2)}` });
        cell.style.opacity = String(Math.min(1, 0.12 + 0.44 * count / mean));
        return cell;
      })), h("span", { class: "figure" }, `max ${(row[top] / mean).toFixed(1)}`));
  }));
}
