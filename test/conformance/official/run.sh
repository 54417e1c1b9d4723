#!/usr/bin/env bash
# Installs the published SDKs, pinned, and runs them against the node at ALEPH_API as the wallet of ALEPH_PRIVATE_KEY.
# With --setup it only installs. Both are run even when the first fails.
set -euo pipefail
cd "$(dirname "$0")"
build=$(cd ../../.. && pwd)/build/conformance
mkdir -p "$build"

# npm wants its modules beside the script that imports them, so all of it is put where things are built.
cp package.json package-lock.json official.mjs "$build/"
if ! cmp -s package-lock.json "$build/installed-lock.json"; then
  echo "Installing the TypeScript SDK"
  (cd "$build" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp package-lock.json "$build/installed-lock.json"
fi
if ! cmp -s requirements.txt "$build/installed-requirements.txt"; then
  echo "Installing the Python SDK"
  python3 -m venv "$build/venv"
  "$build/venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
  cp requirements.txt "$build/installed-requirements.txt"
fi
[ "${1:-}" = --setup ] && exit 0

: "${ALEPH_API:?set ALEPH_API to the base URL of a node}"
: "${ALEPH_PRIVATE_KEY:?set ALEPH_PRIVATE_KEY to the key, in hex, of a funded wallet}"
failed=0
echo "TypeScript SDK"
(cd "$build" && timeout 300 node official.mjs) || failed=1
echo "Python SDK"
timeout 300 "$build/venv/bin/python" official.py || failed=1
exit $failed
