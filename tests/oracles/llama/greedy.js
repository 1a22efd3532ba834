// node greedy.js REQUEST.json: llama.cpp on the CPU, one thread, F32 cache, continues token ids with the likeliest token.
// REQUEST: { modules, model, prompts: [[id, …], …], count }. Prints one JSON array of arrays: the new ids of each prompt.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const request = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(path.join(request.modules, "node-llama-cpp", "dist", "index.js")));
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: 1, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: request.model });
const longest = Math.max(...request.prompts.map((prompt) => prompt.length)) + request.count;
const context = await model.createContext({
    contextSize: longest, threads: 1, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
});
const answers = [];
const sequence = context.getSequence();
for (const prompt of request.prompts) {
    await sequence.clearHistory();
    const answer = [];
    for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
        answer.push(token);
        if (answer.length === request.count) break;
    }
    answers.push(answer);
}
process.stdout.write(JSON.stringify(answers));
process.exit(0);
