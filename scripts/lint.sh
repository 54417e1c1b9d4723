#!/usr/bin/env bash
# Everything that judges the code without running it.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files '*.go' | xargs -r gofmt -l)
[ -z "$unformatted" ] || { printf 'lint: gofmt would change:\n%s\n' "$unformatted" >&2; exit 1; }
go vet ./...
go vet -tags e2e ./test/e2e/
CGO_ENABLED=0 go vet ./signature/... ./ccn/store/... ./crn/instance/
go tool staticcheck ./...
go tool staticcheck -tags e2e ./test/e2e/
scripts/typescript-env.sh
(cd sdk/typescript && npm run --silent check)
scripts/python-env.sh
(cd sdk/python && .venv/bin/mypy --no-error-summary && .venv/bin/ruff check --quiet && .venv/bin/ruff format --quiet --check)
# The vulnerability database may be out of reach; say so instead of passing silently. 3 is the code for "found some".
code=0
out=$(go tool govulncheck ./... 2>&1) || code=$?
if [ "$code" = 0 ]; then
  printf 'lint: govulncheck found nothing\n'
elif [ "$code" != 3 ] && grep -qE 'dial|lookup|Forbidden|no such host|connection refused|timeout|unexpected status' <<<"$out"; then
  printf 'lint: govulncheck could not reach its database, not checked: %s\n' "$(tail -n 1 <<<"$out")"
else
  printf '%s\n' "$out" >&2
  exit 1
fi
printf 'lint: ok\n'
