# Targets for people:  make demo, make test.  For contributors: build, lint, bench.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL: # setup comes before what needs it

BUILD := build
GO := go
LDFLAGS := -s -w
GUEST := $(BUILD)/guest
RUNTIME := $(GUEST)/runtime-python.squashfs

# How SQLite is compiled. Without the first it parses a prepared statement again whenever a value is bound that a better plan might
# depend on; the plans here depend on none. The second leaves out counters of memory under a lock, which nobody reads.
export CGO_CFLAGS ?= -O2 -g -DSQLITE_ENABLE_QPSG -DSQLITE_DEFAULT_MEMSTATUS=0

.PHONY: setup setup-demo build guest small-kernel node-runtime demo test lint bench packages clean

setup: ## install what is missing on this machine
	@scripts/setup.sh

setup-demo: ## the same without what only tests need
	@scripts/setup.sh demo

# Small static binaries: the user's tool, the program that is PID 1 in guests, the runner of WebAssembly.
build: ## build all binaries into build/
	@mkdir -p $(BUILD)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/guest-init ./cmd/guest-init
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/wasm-runner ./cmd/wasm-runner
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/aleph ./cmd/aleph
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/alephd ./cmd/alephd
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/aleph-devnet ./cmd/aleph-devnet

guest: setup-demo ## guest kernel and Python runtime image, kept in build/guest
	@crn/image/fetch-kernel.sh $(GUEST)
	@crn/image/build-runtime.sh python $(GUEST)

small-kernel: ## a small guest kernel in build/guest-small, compiled: some ten minutes, once; nothing needs it
	@crn/image/build-kernel.sh $(BUILD)/guest-small

node-runtime: setup-demo ## the runtime image with Node, which a network started afterwards offers
	@crn/image/build-runtime.sh node $(GUEST)

demo: setup-demo build guest ## a whole network, the example deployed; ONCE=1 stops after its answer
	@scripts/demo.sh $(if $(ONCE),--once)

test: setup build guest ## everything that CI runs
	@scripts/test.sh

lint: ## formatting, vet and staticcheck under every tag, types of both SDKs, known vulnerabilities
	@scripts/lint.sh

bench: setup build guest ## measure; ONLY=name for one, BENCH_FLAGS for its sizes; writes build/bench.json
	@$(GO) run ./cmd/aleph-bench $(if $(ONLY),-only $(ONLY)) $(BENCH_FLAGS)

PLATFORMS := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64
VERSION ?= 0.0.0
DOWNLOADS ?= https://github.com/aleph-im/aleph-go/releases/download/v$(VERSION)

packages: ## pack aleph for apt, Homebrew and Scoop into build/packages; VERSION=1.2.3, DOWNLOADS=where they will be
	@for platform in $(PLATFORMS); do \
		os=$${platform%-*} arch=$${platform#*-}; \
		[ $$os = windows ] && suffix=.exe || suffix=; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS) -X github.com/aleph-im/aleph-go/internal/build.release=$(VERSION)' -o $(BUILD)/release/$$platform/aleph$$suffix ./cmd/aleph; \
	done
	@scripts/package.sh $(VERSION) $(DOWNLOADS) $(BUILD)/release $(BUILD)/packages

clean: ## forget what was built and the demo's network
	rm -rf $(BUILD) .devnet
