// The peer of `hadal bench serve --parts engine`: llama.cpp on the CPU with the same model as a GGUF file, one process, many streams in one context.
//
// usage: node llama.mjs --model FILE.gguf [--modules DIR] [--prompt-tokens 128] [--tokens 128] [--streams 1,8,32] [--rounds 3] [--threads 1]
//                       [--batch 512] [--cache F32|F16|…] [--flash auto|on|off]
//
// --modules: the node_modules that tests/oracles/llama/install.sh made. All streams begin at once with prompts that differ in every token; the likeliest token is taken,
// end tokens are overlooked. Batches of the context are filled by hand through the library's own binding, so that JavaScript costs one call a step and one a token, and
// nothing of the library's queue is measured. Prefill: tokens of all prompts / time of the last first token. Decode: new tokens of all streams / the time in which all
// are written. Medians over the rounds; the first round, which warms up, is not counted. Prints one JSON object.
import path from "node:path";
import { pathToFileURL, fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const given = { modules: path.join(here, "../../artifacts/oracles/llama/node_modules"), promptTokens: "128", tokens: "128", streams: "1,8,32", rounds: "3", threads: "1", batch: "512", cache: "F32", flash: "auto" };
for (let i = 2; i < process.argv.length; i += 2) {
    const name = process.argv[i].replace(/^--/, "").replace(/-([a-z])/g, (_, letter) => letter.toUpperCase());
    if (!process.argv[i].startsWith("--") || (name !== "model" && !(name in given)) || i + 1 >= process.argv.length) {
        console.error(`llama.mjs: ${process.argv[i]} is no option with a value; the head of this file lists them.`);
        process.exit(2);
    }
    given[name] = process.argv[i + 1];
}
if (!given.model) {
    console.error("llama.mjs: --model is missing; hadal convert DIR OUT.gguf makes one.");
    process.exit(2);
}
const whole = (name) => {
    const value = Number(given[name]);
    if (!Number.isInteger(value) || value < 1) throw new Error(`${name} was given "${given[name]}"; expected a whole number from 1`);
    return value;
};
const promptTokens = whole("promptTokens"), tokens = whole("tokens"), rounds = whole("rounds"), threads = whole("threads"), batch = whole("batch");
const streams = given.streams.split(",").map(Number);

const { getLlama, LlamaLogLevel } = await import(pathToFileURL(path.join(given.modules, "node-llama-cpp", "dist", "index.js")));
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: threads, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: given.model });
const vocabulary = model.fileInfo.metadata?.tokenizer?.ggml?.tokens?.length ?? 4096;
const sampler = new llama._bindings.AddonSampler(model._model);
sampler.applyConfig({ temperature: 0 });

// The same numbers every time (a linear congruence); ids below 256 are bytes and control tokens, left out as in the other program.
let state = 1;
const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
};
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const none = new Uint32Array(0);

async function round(context, count) {
    const prompts = Array.from({ length: count }, () => Uint32Array.from({ length: promptTokens }, () => 256 + random(vocabulary - 256)));
    const began = performance.now(), first = new Array(count).fill(0), last = new Array(count).fill(0);

    // Prompts one after the other, as many tokens of them in a batch as it holds.
    let stream = 0, at = 0;
    while (stream < count) {
        context.initBatch(batch);
        const ended = [];
        for (let room = batch; room > 0 && stream < count;) {
            const part = prompts[stream].subarray(at, Math.min(promptTokens, at + room)), isLast = at + part.length === promptTokens;
            const rows = context.addToBatch(stream, at, part, isLast ? Uint32Array.of(part.length - 1) : none);
            room -= part.length;
            at += part.length;
            if (!isLast) continue;
            ended.push([stream, rows[0]]);
            stream++;
            at = 0;
        }
        await context.decodeBatch();
        for (const [ended_, row] of ended) {
            last[ended_] = await context.sampleToken(row, sampler);
            first[ended_] = (performance.now() - began) / 1000;
        }
    }

    // One token of each stream a step.
    const decoding = performance.now();
    for (let n = 1; n < tokens; n++) {
        context.initBatch(count);
        const rows = last.map((token, s) => context.addToBatch(s, promptTokens + n - 1, Uint32Array.of(token), Uint32Array.of(0))[0]);
        await context.decodeBatch();
        for (let s = 0; s < count; s++) last[s] = await context.sampleToken(rows[s], sampler);
    }
    const seconds = (performance.now() - decoding) / 1000;
    for (let s = 0; s < count; s++) context.disposeSequence(s);
    return { prefill: (count * promptTokens) / Math.max(...first), decode: (count * (tokens - 1)) / seconds, first: median(first), token: seconds / (tokens - 1) };
}

const results = [];
for (const count of streams) {
    const context = await model.createContext({
        contextSize: promptTokens + tokens + 8, sequences: count, batchSize: batch, threads, flashAttention: given.flash === "auto" ? "auto" : given.flash === "on",
        experimentalKvCacheKeyType: given.cache, experimentalKvCacheValueType: given.cache,
    });
    const measured = [];
    for (let r = 0; r <= rounds; r++) {
        const one = await round(context._ctx, count);
        if (r > 0) measured.push(one);
    }
    results.push({
        streams: count, prompt_tokens: promptTokens, tokens, threads: context._ctx.getThreads(),
        prefill_tokens_per_second: median(measured.map((m) => m.prefill)), decode_tokens_per_second: median(measured.map((m) => m.decode)),
        first_token_seconds: median(measured.map((m) => m.first)), token_seconds: median(measured.map((m) => m.token)),
    });
    await context.dispose();
}
process.stdout.write(JSON.stringify({ llama: results, cache: given.cache, flash: given.flash, batch, system: llama._bindings.systemInfo() }) + "\n");
process.exit(0);
