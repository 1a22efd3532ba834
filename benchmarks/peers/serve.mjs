// Hadal's engine and llama.cpp in turn on the same model: prefill, decode and time to the first token at several numbers of streams, and their quotients.
//
// usage: node serve.mjs --hadal "dotnet artifacts/…/hadal.dll" --model DIR --gguf FILE.gguf [--rounds 3] [--streams 1,8,32] [--prompt-tokens 128] [--tokens 128]
//                       [--threads 1,2] [--modules DIR] [--json FILE]
//
// A round is a run of each program in a process of its own, in turn, so that a machine that slows down slows both; each warms up before it is timed (see llama.mjs and
// hadal bench serve --help). Hadal runs with the largest number of --threads, llama.cpp with each: its workers spin and fight with the event loop of node for the processors, so
// that fewer may be faster, and its better median counts. Prints Markdown: medians over the rounds, lowest and highest in brackets; times are compared the other way round.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const given = { rounds: "3", streams: "1,8,32", "prompt-tokens": "128", tokens: "128", threads: "1,2", modules: path.join(here, "../../artifacts/oracles/llama/node_modules") };
for (let i = 2; i + 1 < process.argv.length; i += 2) given[process.argv[i].replace(/^--/, "")] = process.argv[i + 1];
for (const name of ["hadal", "model", "gguf"]) {
    if (given[name]) continue;
    console.error(`serve.mjs: --${name} is missing; the head of this file lists the options.`);
    process.exit(2);
}
const numbers = given.threads.split(",").map(Number), most = Math.max(...numbers);
const shape = ["--prompt-tokens", given["prompt-tokens"], "--tokens", given.tokens, "--streams", given.streams, "--rounds", "1"];
const run = (program, ...args) => JSON.parse(execFileSync(program[0], [...program.slice(1), ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 26 }));

const measured = { hadal: [] };
for (const threads of numbers) measured[`llama.cpp, ${threads} threads`] = [];
for (let round = 0; round < Number(given.rounds); round++) {
    const turns = [
        () => measured.hadal.push(run(given.hadal.split(" "), "bench", "serve", "--parts", "engine", "--no-speculation", "--model", given.model, ...shape, "--threads", String(most), "--json").engine),
        ...numbers.map((threads) => () => measured[`llama.cpp, ${threads} threads`].push(
            run([process.execPath], path.join(here, "llama.mjs"), "--model", given.gguf, "--modules", given.modules, ...shape, "--threads", String(threads)).llama)),
    ];
    if (round % 2 === 1) turns.reverse(); // whoever is first in one round is last in the next
    for (const turn of turns) turn();
    console.error(`round ${round + 1} of ${given.rounds}`);
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const values = (name, streams, key) => measured[name].map((round) => round.find((r) => r.streams === streams)[key]);
const shown = (list, digits) => `${median(list).toFixed(digits)} (${Math.min(...list).toFixed(digits)}–${Math.max(...list).toFixed(digits)})`;
const peers = Object.keys(measured).filter((name) => name !== "hadal");
const keys = [["prefill_tokens_per_second", "prefill, tokens/s", 0, 1], ["decode_tokens_per_second", "decode, tokens/s", 0, 1], ["first_token_seconds", "first token, s", 4, -1]];
console.log(`| streams | | Hadal, ${most} threads | ${peers.join(" | ")} | Hadal / the better llama.cpp |\n|---|---|---|${peers.map(() => "---|").join("")}---|`);
for (const streams of given.streams.split(",").map(Number)) {
    for (const [key, name, digits, direction] of keys) {
        const own = values("hadal", streams, key), theirs = peers.map((peer) => values(peer, streams, key)), medians = theirs.map(median);
        const best = direction > 0 ? Math.max(...medians) : Math.min(...medians), quotient = direction > 0 ? median(own) / best : best / median(own);
        console.log(`| ${streams} | ${name} | ${shown(own, digits)} | ${theirs.map((list) => shown(list, digits)).join(" | ")} | ${quotient.toFixed(2)}× |`);
    }
}
if (given.json) fs.writeFileSync(given.json, JSON.stringify(measured, null, 1));
