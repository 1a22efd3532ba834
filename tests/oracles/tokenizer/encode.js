// Encodes documents with Hugging Face's native tokenizers and decodes the ids again.
// usage: node encode.js MODULES TOKENIZER_JSON DOCUMENTS OUTPUT [--time]
//   DOCUMENTS: for each document one byte (0: UTF-8 bytes, perhaps ill-formed; 1: UTF-16LE units, perhaps with lone surrogates), int32 length in bytes, the bytes.
//   OUTPUT: for each document int32 number of ids, the ids as int32, int32 length of the decoded text in bytes, the text as UTF-8.
//   --time: one document at a time, no output but one line on stdout: bytes and seconds of encoding.
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');
const [modules, tokenizerPath, documentsPath, outputPath, time] = process.argv.slice(2);
const { Tokenizer } = createRequire(path.join(path.resolve(modules), 'x.js'))('tokenizers');

function* documents(data) {
  for (let at = 0; at < data.length;) {
    const kind = data[at];
    const length = data.readInt32LE(at + 1);
    yield data.toString(kind === 0 ? 'utf8' : 'utf16le', at + 5, at + 5 + length);
    at += 5 + length;
  }
}

function int32s(values) {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeInt32LE(value, i * 4));
  return bytes;
}

(async () => {
  const tokenizer = await Tokenizer.fromFile(tokenizerPath);
  const texts = [...documents(fs.readFileSync(documentsPath))];
  if (time) {
    for (let i = 0; i < Math.min(50, texts.length); i++) await tokenizer.encode(texts[i], null, { addSpecialTokens: false });
    const start = process.hrtime.bigint();
    let bytes = 0;
    for (const text of texts) {
      await tokenizer.encode(text, null, { addSpecialTokens: false });
      bytes += Buffer.byteLength(text);
    }
    console.log(bytes, Number(process.hrtime.bigint() - start) / 1e9);
    return;
  }
  const output = fs.openSync(outputPath, 'w');
  for (const text of texts) {
    const ids = (await tokenizer.encode(text, null, { addSpecialTokens: false })).getIds();
    const decoded = Buffer.from(await tokenizer.decode(ids, false), 'utf8');
    fs.writeSync(output, Buffer.concat([int32s([ids.length]), int32s(ids), int32s([decoded.length]), decoded]));
  }
  fs.closeSync(output);
})();
