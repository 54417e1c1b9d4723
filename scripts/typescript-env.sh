#!/usr/bin/env bash
# Installs what the TypeScript SDK is built and tested with: sdk/typescript/node_modules, as package-lock.json pins it, and makes
# src/wire.ts, the types that come from the schemas. What is there and right is left alone.
set -euo pipefail
cd "$(dirname "$0")/../sdk/typescript"

npm run --silent types
cmp -s package-lock.json node_modules/.installed.json && exit
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
cp package-lock.json node_modules/.installed.json
