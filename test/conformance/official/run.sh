#!/usr/bin/env bash
# Installs the published clients, pinned, and runs them against the node at ALEPH_API and, when that is set, the compute node at
# ALEPH_CRN. With --setup it only installs.
# Each prints a line for every step of its calls, which official.go reads; no client keeps the others from running.
set -euo pipefail
cd "$(dirname "$0")"
build=$(cd ../../.. && pwd)/build/conformance
mkdir -p "$build"

# install_python NAME: an environment of its own, as the command line wants another version of the SDK.
install_python() {
  cmp -s "requirements-$1.txt" "$build/installed-$1.txt" && return
  echo "Installing the Python $1" >&2
  rm -rf "$build/venv-$1"
  python3 -m venv "$build/venv-$1"
  "$build/venv-$1/bin/pip" install --quiet --disable-pip-version-check --requirement "requirements-$1.txt" >&2
  cp "requirements-$1.txt" "$build/installed-$1.txt"
}

# npm wants its modules beside the script that imports them, so all of it is put where things are built.
cp package.json package-lock.json ./*.mjs "$build/"
if ! cmp -s package-lock.json "$build/installed-lock.json"; then
  echo "Installing the TypeScript SDK" >&2
  # The packages name browser wallets as peers whose own peers are not published any more.
  (cd "$build" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
  cp package-lock.json "$build/installed-lock.json"
fi
install_python sdk
install_python cli
[ "${1:-}" = --setup ] && exit 0

: "${ALEPH_API:?set ALEPH_API to the base URL of a node}"
failed=0

# Who operates machines waits for them most of the time, and does so beside the others.
operate() {
  local failed=0
  (cd "$build" && timeout 300 node operate.mjs) || failed=1
  timeout 300 "$build/venv-sdk/bin/python" operate.py || failed=1
  timeout 300 "$build/venv-cli/bin/python" operate_cli.py || failed=1
  return $failed
}
operators=
if [ -n "${ALEPH_CRN:-}" ]; then
  ALEPH_PRIVATE_KEY=$ALEPH_OPERATOR_KEY operate &
  operators=$!
fi
(cd "$build" && timeout 300 node official.mjs) || failed=1
timeout 300 "$build/venv-sdk/bin/python" official.py || failed=1
timeout 300 "$build/venv-cli/bin/python" cli.py || failed=1
[ -z "${ALEPH_RUST_CLI:-}" ] || timeout 300 python3 rust.py || failed=1
[ -z "$operators" ] || wait "$operators" || failed=1
exit $failed
