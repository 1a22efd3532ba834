#!/usr/bin/env bash
# Installs what the GGUF tests compare with, into artifacts/oracles/llama (git ignores it). Needs node and npm. Does nothing when it is there already.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
target="$here/../../../artifacts/oracles/llama"
if cmp -s "$here/package-lock.json" "$target/package-lock.json" && [ -f "$target/installed" ]; then
    exit 0
fi
command -v npm >/dev/null || { echo "tests/oracles/llama/install.sh: npm was not found. Install Node.js 20 or newer with npm, then run this again." >&2; exit 1; }
echo "Installing llama.cpp (npm packages node-llama-cpp 3.22.1 and @node-llama-cpp/linux-x64 3.22.1; 85 MB, no GPU variants) into artifacts/oracles/llama"
rm -rf "$target"
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$target/"
# Not npm ci: it wants the optional packages of other systems and of GPUs in the lock file, some of which registries lack. install takes what the lock file names, with its hashes.
(cd "$target" && npm install --ignore-scripts --omit=optional --no-save --no-audit --no-fund --loglevel=error)
cp "$here/package-lock.json" "$target/"
touch "$target/installed"
