#!/usr/bin/env bash
# Records docs/sessions/*.txt: what a newcomer types and sees, against a network that this script starts and ends. It needs what
# `make build guest` makes; the instance needs root, for its network.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$PWD/docs/sessions
work=$(mktemp -d)
port=${PORT:-14024}
GOCACHE=$(go env GOCACHE)
export PATH=$PWD/build:$PATH GOCACHE HOME=$work LANG=C.UTF-8
export ALEPH_CONFIG_HOME=$work/config ALEPH_CACHE_HOME=$work/cache

build/aleph-devnet --dir "$work/devnet" --base-port "$port" >"$work/devnet.log" 2>&1 &
network=$!
stop() {
  kill "$network" 2>/dev/null || true
  wait "$network" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for _ in $(seq 1200); do
  [ -f "$work/devnet/network.json" ] && break
  kill -0 "$network" 2>/dev/null || { cat "$work/devnet.log" >&2; exit 1; }
  sleep 0.1
done
[ -f "$work/devnet/network.json" ] || { echo "the network did not come up within two minutes" >&2; exit 1; }

cat >"$work/hello.go" <<'GO'
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "somebody asked for", os.Getenv("PATH_INFO"))
	fmt.Print("Content-Type: text/plain\n\nHello from Aleph\n")
}
GO
[ -f build/guest/instance-small.img ] && cp build/guest/instance-small.img "$work/debian.img"
cp "$work/devnet/keys/account0.key" "$work/wallet.key"
ssh-keygen -q -t ed25519 -N '' -C me@example -f "$work/id_ed25519"
cd "$work"

# session NAME begins a recording; say TEXT is a comment in it; type COMMAND is typed and runs. {name} in a command stands for
# what `keep name` found in the output of an earlier one.
declare -A kept
session() { file=$out/$1.txt; : >"$file"; echo "recording $1" >&2; }
say() { printf '# %s\n' "$@" >>"$file"; }
type() {
  local line=$1 name
  for name in "${!kept[@]}"; do line=${line//\{$name\}/${kept[$name]}}; done
  printf '$ %s\n' "$line" >>"$file"
  local code=0
  (eval "$line") >"$work/last" 2>&1 || code=$?
  sed -e "s#$work#/home/me#g" "$work/last" >>"$file"
  [ "$code" = 0 ] || printf '(exit code %d)\n' "$code" >>"$file"
  printf '\n' >>"$file"
}
# interrupted FOLDER MIB COMMAND types a command, and Ctrl-C as soon as a file in a folder has so many MiB.
interrupted() {
  local most=0 code=0
  printf '$ %s\n' "$3" >>"$file"
  set -m # a process of the background would not hear Ctrl-C otherwise
  eval "exec $3" >"$work/last" 2>&1 &
  set +m
  while kill -0 $! 2>/dev/null && [ "$most" -lt $(($2 << 20)) ]; do
    most=$(find "$1" -type f -printf '%s\n' 2>/dev/null | sort -n | tail -n 1)
    most=${most:-0}
  done
  kill -INT $! 2>/dev/null || true
  wait $! || code=$?
  printf '^C\n' >>"$file"
  cat "$work/last" >>"$file"
  printf '(exit code %d)\n\n' "$code" >>"$file"
}
keep() { kept[$1]=$(awk -v key="$2" '$1 == key { print $2; exit }' "$work/last"); }

session 1-first-account
say "A network is chosen, a key is made, and a wallet that holds tokens already is taken over."
type "aleph network add home http://127.0.0.1:$port --parameters devnet"
type "aleph network use home"
type "aleph account create --account mine"
keep mine address
type "aleph account balance --account mine"
type "aleph account import --account wallet --key-file wallet.key"
type "aleph account list"
export ALEPH_ACCOUNT=wallet
say "From here on ALEPH_ACCOUNT=wallet says who signs."
type "aleph account balance"
type "aleph post create note '{\"text\": \"my first message\"}'"
keep post message
type "aleph post get {post}"
type "aleph config path"

session 2-deploy
say "From a file to a URL, and a change of the code. A folder with a main.py or a Linux binary is deployed the same way."
type "cat hello.go"
type "GOOS=wasip1 GOARCH=wasm go build -trimpath -o hello.wasm hello.go"
type "aleph price program --memory 256"
type "aleph program deploy hello.wasm"
keep program program
type "aleph program call {program} /"
type "aleph program list"
type "aleph program show {program}"
type "sed -i 's/Hello/Good morning/' hello.go && GOOS=wasip1 GOARCH=wasm go build -trimpath -o hello.wasm hello.go"
type "aleph program update {program} hello.wasm"
type "aleph program call {program} /again"
type "aleph account balance"

session 3-logs
say "What a program printed, and which messages there are."
type "aleph program logs {program}"
type "aleph message list --type PROGRAM --limit 3"
type "aleph message watch --history 2 --timeout 1s"

if [ -f debian.img ] && [ "$(id -u)" = 0 ]; then
  session 4-instance
  say "A machine of one's own: its price, its birth, a port that leads to it, its end."
  type "aleph price instance --vcpus 1 --memory 1024 --disk 2048"
  type "aleph instance create --image debian.img --name web --memory 1024 --disk 2048 --ssh-key id_ed25519.pub --yes"
  keep instance instance
  type "aleph instance list"
  type "aleph instance show {instance}"
  type "aleph instance port-forward add {instance} 80"
  for _ in $(seq 120); do # until it has booted
    aleph instance logs "${kept[instance]}" 2>/dev/null | grep -q . && break
    sleep 1
  done
  type "aleph instance logs {instance} -f --timeout 5s | tail -n 3"
  type "aleph instance stop {instance}"
  type "aleph instance start {instance}"
  type "aleph instance delete {instance} --yes"
fi

session 5-not-enough-funds
say "An account that holds nothing, what it is told, and what machines are told."
type "aleph program deploy hello.wasm --account mine"
type "aleph program deploy hello.wasm --account mine -o json"
type "aleph credit transfer {mine} 1000 --yes"
type "aleph account balance --account mine"

session 6-mistakes
say "What comes back when something is wrong."
type "aleph programm list"
type "aleph program shwo abc"
type "aleph message get 123"
type "aleph message get 0000000000000000000000000000000000000000000000000000000000000000"
type "aleph program delete {program} --no-input"
type "aleph message get {post} --api http://127.0.0.1:1"
type "aleph post create note 'not JSON'"
type "aleph file download {post}"

session 7-files
say "A website, and a large file whose upload is interrupted with Ctrl-C and goes on."
mkdir site && echo '<h1>Hello</h1>' >site/index.html
head -c 100000000 /dev/urandom >film.mp4
type "aleph website deploy site"
keep site url
type "curl -s {site}"
interrupted "$work/devnet/ccn1/uploads" 10 "aleph file upload film.mp4"
type "aleph file upload film.mp4"
keep film hash
type "aleph file download {film} --to film.copy && cmp film.mp4 film.copy && echo the same"
