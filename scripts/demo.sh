#!/usr/bin/env bash
# The example: a network, a program deployed by a user, its answer. With --once it stops after the answer.
set -euo pipefail
cd "$(dirname "$0")/.."

once=
[ "${1:-}" = --once ] && once=1
dir=.devnet
began=$(date +%s.%N)

rm -f "$dir/network.json"
mkdir -p "$dir"
build/aleph-devnet --dir "$dir" &
network=$!
stop() {
  kill "$network" 2>/dev/null || true
  wait "$network" 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for _ in $(seq 600); do
  [ -f "$dir/network.json" ] && break
  kill -0 "$network" 2>/dev/null || { echo "demo: the network did not come up; see $dir/logs" >&2; exit 1; }
  sleep 0.1
done
[ -f "$dir/network.json" ] || { echo "demo: the network did not come up within a minute; see $dir/logs" >&2; exit 1; }

api=http://127.0.0.1:4024
aleph=(build/aleph --network devnet --api "$api" --key-file "$dir/keys/account0.key")

echo "Deploying examples/hello-fastapi as the first wallet:"
"${aleph[@]}" -o json program deploy examples/hello-fastapi >"$dir/deployed.json" || { cat "$dir/deployed.json" >&2; exit 1; }
read -r hash ccn crn url < <(python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
print(d["item_hash"], d["ccn"], d["crn"], d["url"])' "$dir/deployed.json")
echo "Calling it (its virtual machine boots first):"
answer=$("${aleph[@]}" program call "$hash" / --timeout 120s) || { printf '%s\n' "$answer" >&2; echo "demo: the program did not answer; see $dir/logs" >&2; exit 1; }

cat <<TXT

  answer   $answer
  after    $(python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.1f} s")' "$began")
  program  $hash
  ccn      $ccn
  crn      $crn
  call it  curl $url
  message  $api/api/v0/messages/$hash
  where    $api/api/v0/allocation/$hash
TXT

[ -n "$once" ] && exit 0
echo
echo "The network stays up until Ctrl-C."
wait "$network"
