// Writes one byte for each code point: which of the properties L, M, N, P, S (bits 0-4), \s (bit 5) the native tokenizers' regular expressions give it.
// usage: node classify.js MODULES OUTPUT
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');
const [modules, outputPath] = process.argv.slice(2);
const { Tokenizer } = createRequire(path.join(path.resolve(modules), 'x.js'))('tokenizers');

const removing = (regex) => Tokenizer.fromString(JSON.stringify({
  version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null,
  pre_tokenizer: { type: 'Split', pattern: { Regex: regex }, behavior: 'Removed', invert: false },
  post_processor: null, decoder: null,
  model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, vocab: {}, merges: [] },
})).getPreTokenizer();

const bits = Buffer.alloc(0x110000, 0x3f);
['\\p{L}', '\\p{M}', '\\p{N}', '\\p{P}', '\\p{S}', '\\s'].forEach((regex, bit) => {
  const splitter = removing(regex);
  for (let first = 0; first < 0x110000; first += 4096) {
    let text = '';
    for (let scalar = first; scalar < first + 4096; scalar++) if (scalar < 0xd800 || scalar > 0xdfff) text += String.fromCodePoint(scalar);
    for (const [left] of splitter.preTokenizeString(text)) for (const character of left) bits[character.codePointAt(0)] &= ~(1 << bit);
  }
});
fs.writeFileSync(outputPath, bits);
