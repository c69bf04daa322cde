# See `make help`. Variables: PREFIX, DESTDIR, VERSION, GO.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR   = $(PREFIX)/bin
MANDIR   = $(PREFIX)/share/man/man8
# Where systemd looks: its own place for units of packages, ours for the rest.
UNITDIR ?= $(if $(filter /usr,$(PREFIX)),/usr/lib/systemd/system,$(PREFIX)/lib/systemd/system)

VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)
BUILD    = CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

# Everything but the end-to-end tests, which have a target of their own.
PACKAGES = $$($(GO) list ./... | grep -v '/internal/e2e$$')
GOFILES  = $$(git ls-files '*.go' 2>/dev/null || find . -name '*.go')
FUZZTIME ?= 20s
STATICCHECK = v0.8.2
CYCLONEDX   = v1.10.0
SCALE    ?= -json bin/scale.json
SIM      ?= -for 1h
VM       ?=
SOAK     ?= -json bin/soak.json
BENCH    ?= -json bin/bench.json -plot bin/bench.svg

.DELETE_ON_ERROR:
.PHONY: all build test check lint vulncheck reproducible sbom unit e2e run bench scale sim soak vm fuzz deps install uninstall clean help

all: build

build: ## build bin/culvert, static
	$(BUILD) -o bin/culvert ./cmd/culvert

# In this order also with -j: a failure of the quick ones is told first.
test: ## everything: check, lint, vulncheck, reproducible, unit, e2e; installs missing programs when root
	$(MAKE) deps
	$(MAKE) check
	$(MAKE) lint
	$(MAKE) vulncheck
	$(MAKE) reproducible
	$(MAKE) unit
	$(MAKE) e2e

check: ## gofmt and go vet
	@bad=$$(gofmt -l $(GOFILES)); test -z "$$bad" || { echo "gofmt would change:" $$bad; exit 1; }
	$(GO) vet ./...

# The race detector keeps 4M accesses of each goroutine, not 64K: a long test made it forget
# the ones that it had to compare. The limit of time is for what hangs. What follows is otherwise with the
# detector: memory beside the heap, and pools that keep what they are given.
unit: ## unit tests under the race detector
	GORACE="history_size=7 $$GORACE" $(GO) test -race -timeout 600s $(PACKAGES)
	$(GO) test -timeout 60s ./internal/pages
	$(GO) test -timeout 60s -run '^TestNoAllocations$$' ./conn

e2e: build ## end-to-end tests in network namespaces; needs root
	CULVERT_E2E=require CULVERT=$(CURDIR)/bin/culvert $(GO) test -count=1 -timeout 600s ./internal/e2e/... ./internal/bench ./internal/scale ./internal/soak

run: build ## two hosts on this machine and a tunnel between them, shown step by step
	$(GO) run ./internal/demo -culvert $(CURDIR)/bin/culvert

# BENCH are its arguments: BENCH=-help lists them, BENCH=-quick is the short one.
bench: build ## throughput, latency, CPU and memory beside wireguard-go; needs root
	scripts/deps ip wg ping iperf3
	$(if $(filter -all,$(BENCH)),-scripts/deps wireguard-go)
	$(GO) build -o bin/bench ./internal/bench
	CULVERT=$(CURDIR)/bin/culvert bin/bench $(BENCH)

# SCALE are its arguments: SCALE=-help lists them, SCALE=-quick is the short one.
scale: build ## what up to a million peers cost, idle, connected, in storms and under floods, beside wireguard-go; needs root
	scripts/deps ip iperf3
	$(GO) build -o bin/scale ./internal/scale
	CULVERT=$(CURDIR)/bin/culvert bin/scale $(SCALE)

# SIM are its arguments: -for 8h -first 1 -nodes 20 -every 5s.
sim: ## whole devices against each other in virtual time, seed after seed, until one fails; SIM='-for 8h'
	$(GO) test -v -count=1 -timeout 0 -run '^TestLong$$' ./internal/sim -args $(SIM)

# SOAK are its arguments: SOAK=-help lists them; SOAK='-minutes 600 -phase 30' is for a night.
soak: build ## two daemons under traffic and all kinds of disturbances, a minute or hours: nothing grows, nothing is lost without a reason; needs root
	scripts/deps ip wg ethtool
	$(GO) build -o bin/soak ./internal/soak
	CULVERT=$(CURDIR)/bin/culvert bin/soak $(SOAK)

# VM are its arguments: VM='-arch arm64', VM='-kernel 5.10', VM='-run traffic'. It fetches some 150 MB once and emulates a
# processor, so it is no part of test.
vm: ## the daemon on another kernel, in an emulator, against the kernel's own WireGuard; VM='-arch arm64 -kernel 5.10'
	GO='$(GO)' scripts/vm $(VM)

# Each for FUZZTIME; FUZZ=WORD chooses those with WORD in package or name.
fuzz: ## fuzz tests for FUZZTIME each (20s), FUZZ=WORD chooses; a crash becomes a test case
	@GO='$(GO)' FUZZTIME='$(FUZZTIME)' FUZZ='$(FUZZ)' scripts/fuzz

lint: ## staticcheck, of a fixed version
	$(GO) run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK) ./...

vulncheck: ## govulncheck, with a database of a fixed version; VULNDB=latest for the newest
	GO='$(GO)' scripts/vulncheck

reproducible: build ## build the daemon again elsewhere, and compare
	MAKE='$(MAKE)' scripts/reproducible bin/culvert '$(VERSION)'

sbom: build ## bin/culvert.cdx.json: what is in the binary, in CycloneDX
	$(GO) run github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX) bin -json -std -noserial -notimestamp \
		-version '$(VERSION)' -output bin/culvert.cdx.json bin/culvert

deps: ## install (as root) or name the programs that tests and benchmarks need
	scripts/deps gcc ip tc wg wg-quick nft ping iperf3 tcpdump ethtool setpriv

# Under sudo there may be no go: then what was built before is installed.
install: ## install the daemon, its manual page and its systemd unit
	@if command -v $(GO) >/dev/null; then $(MAKE) build; \
	elif test -x bin/culvert; then echo "no $(GO) here: installing bin/culvert as it is"; \
	else echo "no $(GO) here: run make first"; exit 1; fi
	install -d '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MANDIR)' '$(DESTDIR)$(UNITDIR)'
	install -m 0755 bin/culvert '$(DESTDIR)$(BINDIR)/culvert'
	install -m 0644 packaging/culvert.8 '$(DESTDIR)$(MANDIR)/culvert.8'
	sed 's|@BINDIR@|$(BINDIR)|g' packaging/culvert@.service > '$(DESTDIR)$(UNITDIR)/culvert@.service'
	chmod 0644 '$(DESTDIR)$(UNITDIR)/culvert@.service'

uninstall: ## remove what install installed
	rm -f '$(DESTDIR)$(BINDIR)/culvert' '$(DESTDIR)$(MANDIR)/culvert.8' '$(DESTDIR)$(UNITDIR)/culvert@.service'

clean: ## remove what was built
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t h; do printf '  %-13s %s\n' "$$t" "$$h"; done
