#!/usr/bin/env bash
# All tests. Each part prints what it runs; the first failure ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."

part() { printf '\n== %s\n' "$*"; }

part "lint"
scripts/lint.sh

part "contracts: artifacts are what the sources compile to"
(cd contracts && npm ci --no-audit --no-fund --loglevel=error && npm run --silent check)

part "packages, with the race detector"
# Packages run one at a time: two cores are shared with virtual machines and an embedded chain.
go test -race -p 1 -timeout 20m $(go list ./... | grep -vE '/test/(conformance/(ccn|crn)|convergence)$')

part "a compute node recovers from 50 kills of it, of its machines, and of its folders"
ALEPH_KILLS=50 go test -timeout 5m -count 1 -run TestANodeRecoversFromKillsAtAnyMoment -v ./crn/ | grep -vE '^ *=== '

part "shuffled histories give the same rows and the same answers, some of them with the race detector"
ALEPH_HISTORIES=100 go test -race -timeout 10m ./test/convergence/
go test -timeout 20m ./test/convergence/

part "the acceptance list of the core node's API: on SQLite, on PostgreSQL, on processes behind a proxy"
go test -race -count 1 -timeout 10m -v ./test/conformance/ccn/ | grep -vE '^ *(=== |--- PASS|--- SKIP)'

part "the acceptance list of the compute node, on real machines"
go test -race -count 1 -timeout 10m -v ./test/conformance/crn/ | grep -vE '^ *(=== |--- PASS|--- SKIP)'

part "pure Go builds of what also uses C"
CGO_ENABLED=0 go test -timeout 5m ./signature/... ./ccn/store/...

part "end to end: a network, its users, killed processes, published SDKs"
go test -tags e2e -timeout 20m -count 1 ./test/e2e/
