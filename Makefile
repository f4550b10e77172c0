# The everyday commands. `make demo` and `make test` are all that a user of a
# fresh clone needs; the others are their parts.

GO      ?= go
BIN     := bin
TOOLS   := $(CURDIR)/$(BIN)/tools
LINT    := $(TOOLS)/golangci-lint
LINT_VERSION := v2.15.0

# Property tests draw the same cases each time, so that a change is judged by what it
# changes. RAPID_SEED=0 draws others, RAPID_CHECKS=5000 more of them.
export RAPID_SEED ?= 20261126

.PHONY: build demo test unit race lint e2e soak upgrades bench bench-quick bench-analysis bench-analysis-quick microbench fuzz deps clean

build: ## the one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/segue ./cmd/segue

demo: build ## the main job on real processes, with a receipt
	CGO_ENABLED=0 $(GO) build -o $(BIN)/demo-service ./examples/demo
	$(GO) run ./e2e/demo -segue $(BIN)/segue -service $(BIN)/demo-service

# Everything: what CI runs. The order puts the quick answers first.
test: deps lint race e2e

deps: ## what the tests need from the system
	.ci/install

lint: $(LINT)
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./cmd/... ./internal/api ./internal/cli
	$(LINT) run ./...

$(LINT):
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

unit: ## the packages' own tests, without the race detector
	$(GO) test ./cmd/... ./internal/... ./handback/... ./examples/... ./e2e/load/... ./bench/...

# The detector makes the sweeps, which let each thing happen after each event of each
# strategy, ten times as long: they are thinned with it, and whole without it. So would it the
# simulations of the analysis, which have nothing for it to find.
race: ## the packages' own tests, with it
	$(GO) test -race ./cmd/... ./internal/... ./handback/... ./examples/... ./e2e/load/... ./bench/...
	$(GO) test -run Anywhere ./internal/deploy
	$(GO) test ./bench/analysis

# Most of the time a test here waits for something, so more run at once than there are
# processors.
e2e: ## the real binary under load, built with the race detector
	$(GO) test -race -count=1 -parallel=4 -timeout=25m ./e2e

# One thing after the other happens to a service under load, drawn from a seed: SOAK=1h
# SEED=7. Without a seed it is the time. It ends with "lost 0 of N requests", or fails.
SOAK ?= 10m
soak:
	$(GO) test -race -count=1 -v -timeout 0 -run '^TestSoak$$' ./e2e -soak=$(SOAK) $(if $(SEED),-seed=$(SEED))

# Upgrades one after the other under full load, until so many requests were sent.
UPGRADE_REQUESTS ?= 1000000
upgrades:
	$(GO) test -count=1 -v -timeout 0 -run '^TestTenUpgrades$$' ./e2e -upgrade-requests=$(UPGRADE_REQUESTS)

# The proxy beside nginx, HAProxy and Caddy: see docs/performance.md. It wants a machine
# for itself, and less than ten minutes; bench-quick less than one.
bench: $(BIN)/bench
	$(BIN)/bench $(BENCHFLAGS)

bench-quick: $(BIN)/bench
	$(BIN)/bench -only segue,nginx,haproxy -cases 1k -limit 45s $(BENCHFLAGS)

.PHONY: $(BIN)/bench
$(BIN)/bench: build
	bench/install
	$(GO) build -o $(BIN)/bench ./bench
	$(GO) build -o $(BIN)/bench-upstream ./bench/upstream

# The tests of internal/analysis on simulated rollouts: see docs/analysis.md. It writes
# docs/analysis-figures.md; bench-analysis-quick writes nothing.
bench-analysis:
	$(GO) run ./bench/analysis

bench-analysis-quick:
	$(GO) run ./bench/analysis -quick

microbench: ## the packages' own benchmarks
	$(GO) test -run='^$$' -bench=. -benchmem ./internal/...

FUZZTIME ?= 30s
fuzz:
	$(GO) test -run='^$$' -fuzz=FuzzParse -fuzztime=$(FUZZTIME) ./internal/spec
	for target in $$($(GO) test -list=Fuzz ./internal/proxy/h1 | grep ^Fuzz); do \
		$(GO) test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) ./internal/proxy/h1 || exit 1; \
	done

clean:
	rm -rf $(BIN)
