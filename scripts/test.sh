#!/usr/bin/env bash
# All tests. Each part prints what it runs; the first failure ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."

part() { printf '\n== %s\n' "$*"; }

GOFLAGS="$(go env GOFLAGS) -vet=off" # lint has vetted everything, tests as well
export GOFLAGS

# The race detector leaves out what only computes: one encrypted key would take ten seconds.
race=(-race)
for package in scrypt pbkdf2; do race+=("-gcflags=golang.org/x/crypto/$package=-race=false"); done

# Tests with virtual machines wait for these most of the time, and each machine keeps one core busy. Those of the compute node
# run one after the other beside everything else; what they print comes at the end.
machines() {
	part "the runtime with Node, which the tests end to end use"
	crn/image/build-runtime.sh node build/guest

	part "compute node: packages, with the race detector"
	go test "${race[@]}" -p 1 -timeout 25m -skip TestANodeRecoversFromKillsAtAnyMoment ./crn/... ./guest/... # its kills follow

	part "compute node: 50 kills of it, of its machines, and of its folders"
	ALEPH_KILLS=50 go test -timeout 5m -count 1 -run TestANodeRecoversFromKillsAtAnyMoment -v ./crn/ | grep -vE '^ *=== '

	part "compute node: the acceptance list of its API"
	go test "${race[@]}" -count 1 -timeout 16m -v ./test/conformance/crn/ | grep -vE '^ *(=== |--- PASS)'
}

part "lint"
scripts/lint.sh

part "contracts: artifacts are what the sources compile to"
(cd contracts && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check)

part "TypeScript SDK: against vectors, fakes and a core node"
scripts/typescript-env.sh
(cd sdk/typescript && npm run --silent test)

log=build/machines.log
set -m # a process group of its own, to end it as a whole
machines >"$log" 2>&1 &
machines=$!
set +m
scratch=
finish() {
	[ -z "$machines" ] || kill -- "-$machines" 2>/dev/null || true
	rm -rf "$scratch"
}
trap finish EXIT

# Files of tests need not last, and kept in memory they take half the time. Programs are still built, and machines run, on the disk.
if [ "$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)" -gt $((8 << 20)) ] && [ "$(df --output=avail /dev/shm | tail -n 1)" -gt $((4 << 20)) ]; then
	scratch=$(mktemp -d /dev/shm/aleph-XXXXXX)
	chmod 1777 "$scratch" # PostgreSQL runs as a user of its own
	export GOTMPDIR=${TMPDIR:-/tmp} TMPDIR=$scratch
fi

part "packages, with the race detector"
go test "${race[@]}" -p 1 -timeout 20m -skip TestEveryExampleRuns \
	$(go list ./... | grep -vE '/(crn|guest)(/|$)|/test/(chaos|conformance/(ccn|crn)|convergence)$')

part "core nodes killed 100 times on each engine" # without the race detector, with which nodes run whole in the acceptance list
go test -timeout 10m ./test/chaos/

part "every example of docs/cli.md, each with a node of its own"
go test -timeout 10m -run TestEveryExampleRuns ./cmd/aleph/

part "shuffled histories give the same rows and the same answers, some of them with the race detector"
ALEPH_HISTORIES=20 go test "${race[@]}" -timeout 10m ./test/convergence/
go test -timeout 20m ./test/convergence/

part "the acceptance list of the core node's API: on SQLite, on PostgreSQL, on processes behind a proxy"
go test "${race[@]}" -count 1 -timeout 10m -v ./test/conformance/ccn/ | grep -vE '^ *(=== |--- PASS)'

part "Python SDK: against a core node"
(cd sdk/python && .venv/bin/pytest -q)

part "pure Go builds of what also uses C"
CGO_ENABLED=0 go test -timeout 5m ./signature/... ./ccn/store/...

part "end to end: a network, its users, killed processes, published SDKs"
[ -z "$scratch" ] || export TMPDIR=$GOTMPDIR
go test -tags e2e -timeout 25m -count 1 ./test/e2e/

if ! wait "$machines"; then
	cat "$log"
	exit 1
fi
machines=
cat "$log"

if [ "$(id -u)" -ne 0 ]; then
	printf '\nnot root: tests of instances, of how machines are confined and of full disks were left out; sudo make test runs them\n'
elif ! grep -q '^ID=debian$' /etc/os-release; then
	printf '\nnot Debian: tests of instances were left out, as their disk is made of its packages\n'
fi
