# Needs Go, git and make (GNU, 4.0 or later). What else the tests want is
# installed where it can be, and named where it can't.

JOBS    ?= $(or $(shell getconf _NPROCESSORS_ONLN 2>/dev/null),2)

# Written os-arch, as in the names of the binaries.
TARGETS := $(addprefix linux-,amd64 386 armv5 armv6 armv7 arm64 mips mipsle \
	mips64 mips64le riscv64 loong64 ppc64le s390x) \
	freebsd-amd64 freebsd-arm64 darwin-amd64 darwin-arm64 \
	windows-amd64 windows-arm64

# Their unit tests run under qemu-user; those of the others are only vetted,
# one of each kind: armv6 is between two that run.
EMULATED := armv5 armv7 arm64 mips mipsle riscv64 s390x
VETTED   := linux-386 linux-mips64 linux-mips64le linux-loong64 linux-ppc64le \
	freebsd-amd64 darwin-arm64 windows-amd64

# Some of these tests only wait. Meanwhile one job more has a processor.
EMULATED_JOBS = $(shell expr $(JOBS) + 1)

# Flash is small: the most bytes that linux-mipsle may take, packed with xz as
# in a squashfs of OpenWrt, with the Go that OpenWrt 25.12 has.
SIZE_LIMIT := 696000

# The port mapping program asks the kernel for the default gateway, as Linux
# has it.
PORTMAP_TARGETS := $(filter linux-%,$(TARGETS))

# Three that differ in word size and byte order. make dist looks at all.
REPRODUCED := linux-amd64 linux-armv5 linux-mips

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GREMLINS    := github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0

# The Go of OpenWrt 24.10, 25.12 and main. go.mod and GO_NEEDED agree.
GO_NEEDED  := 1.23
OLDEST_GO  := go1.23.12
OPENWRT_GO := go1.26.8
NEWEST_GO  := go1.27.2

# The packages whose tests need nothing but Go.
UNIT_TESTS := . ./internal/...

# The packages and files in which make mutants changes something.
MUTANTS ?= . $(wildcard internal/*)

PREFIX   ?= /usr/local
FUZZTIME ?= 1m
SOAKTIME ?= 10m

# One set of flags for builds and tests, so that they share the build cache.
# The version comes from VERSION, not from what Go finds in .git.
export CGO_ENABLED := 0
export GOFLAGS := $(filter-out -trimpath -buildvcs=%,$(GOFLAGS)) -trimpath -buildvcs=false
LDFLAGS = -s -w -X main.version=$(VERSION)
GO_BUILD = go build -tags release -ldflags '$(LDFLAGS)'

# The least of each processor family: no FPU on MIPS, no SSE2 on a Geode.
level-amd64    := GOAMD64=v1
level-386      := GO386=softfloat
level-armv5    := GOARM=5
level-armv6    := GOARM=6
level-armv7    := GOARM=7
level-arm64    := GOARM64=v8.0
level-mips     := GOMIPS=softfloat
level-mipsle   := GOMIPS=softfloat
level-mips64   := GOMIPS64=softfloat
level-mips64le := GOMIPS64=softfloat
level-ppc64le  := GOPPC64=power8
level-riscv64  := GORISCV64=rva20u64

os     = $(word 1,$(subst -, ,$1))
arch   = $(word 2,$(subst -, ,$1))
cross  = GOOS=$(os) GOARCH=$(patsubst armv%,arm,$(arch)) $(level-$(arch))
binary = dist/pico-tracker-$1$(if $(filter windows-%,$1),.exe)

.DEFAULT_GOAL := build

ifneq ($(filter-out help clean clean-dist install list-targets list-release-go,$(or $(MAKECMDGOALS),build)),)
ifneq ($(shell scripts/need-go $(GO_NEEDED) && echo yes),yes)
$(error no Go $(GO_NEEDED))
endif
# The version of the sources, unless VERSION gives another.
RELEASE := $(VERSION)
override VERSION := $(shell VERSION='$(VERSION)' packaging/version)
ifeq ($(VERSION),)
$(error no version)
endif
endif

##@ Everyday

.PHONY: build
build: ## a static ./pico-tracker for this machine (VERSION=... to name it)
	$(GO_BUILD) -o pico-tracker$$(go env GOEXE) .

.PHONY: run
run: build ## build and run it (ARGS="-debug ...")
	./pico-tracker $(ARGS)

# It does not build: root often has no Go.
.PHONY: install
install: ## install ./pico-tracker, its manual page and completion (PREFIX=/usr/local DESTDIR=)
	@[ -f pico-tracker ] || { echo "there is no ./pico-tracker: run make first" >&2; exit 1; }
	install -d $(addprefix '$(DESTDIR)$(PREFIX)'/,bin share/man/man8 share/bash-completion/completions \
		share/zsh/site-functions share/doc/pico-tracker)
	install -m 0755 pico-tracker '$(DESTDIR)$(PREFIX)/bin/pico-tracker'
	packaging/manual >'$(DESTDIR)$(PREFIX)/share/man/man8/pico-tracker.8'
	chmod 0644 '$(DESTDIR)$(PREFIX)/share/man/man8/pico-tracker.8'
	install -m 0644 packaging/completion/pico-tracker.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/pico-tracker'
	install -m 0644 packaging/completion/_pico-tracker '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_pico-tracker'
	install -m 0644 LICENSE README.md '$(DESTDIR)$(PREFIX)/share/doc/pico-tracker/'

.PHONY: clean
clean: ## remove what make built
	rm -rf pico-tracker pico-tracker.exe dist

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

##@ Checks

.PHONY: check
check: check-tools check-scripts check-luci check-go ## gofmt, go vet for every kind of target, staticcheck, shellcheck, ESLint

.PHONY: check-tools
check-tools:
	@scripts/install shellcheck nodejs npm

.PHONY: check-scripts
check-scripts:
	@if command -v shellcheck >/dev/null; then \
		shellcheck $$(scripts/list-scripts); \
	else \
		scripts/skip shellcheck "not installed"; \
	fi
	go run $(ACTIONLINT) $(wildcard .github/workflows/*.yml)

.PHONY: check-luci
check-luci:
	@openwrt/luci-test/run -lint

.PHONY: check-go
check-go:
	@unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || \
		{ echo "not as gofmt has it: $$unformatted"; exit 1; }
	go mod tidy -diff
	go vet ./...
	go vet -tags portable ./...
	go vet -tags system,instructions ./boards
	go vet -tags installation ./packaging
	@$(MAKE) --no-print-directory -j$(JOBS) $(addprefix vet-,$(VETTED))
	go run $(STATICCHECK) ./...
	go run $(STATICCHECK) -tags portable ./...
	go run $(STATICCHECK) -tags system,instructions ./boards
	go run $(STATICCHECK) -tags installation ./packaging
	@if [ -f bench/go.mod ]; then \
		cd bench && set -x && go mod tidy -diff && go vet ./... && go run $(STATICCHECK) ./...; \
	fi
	cd portmap && go mod tidy -diff && go vet ./... && GOOS=freebsd go vet ./... && go run $(STATICCHECK) ./...

.PHONY: $(addprefix vet-,$(VETTED))
$(addprefix vet-,$(VETTED)): vet-%:
	$(call cross,$*) go vet ./...

.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities in what the tracker uses; needs the internet
	go run $(GOVULNCHECK) -tags release ./...

##@ Tests

.PHONY: test
test: ## everything below, then go test ./... with real clients
	@scripts/install xz-utils gcc libc6-dev qemu-user-static $$(grep -shv '^#' */packages.txt openwrt/*/packages.txt)
	@$(MAKE) --no-print-directory test-bench
	@$(MAKE) --no-print-directory test-portmap
	@$(MAKE) --no-print-directory test-luci
	@$(MAKE) --no-print-directory test-oldest
	@$(MAKE) --no-print-directory test-newest
	@$(MAKE) --no-print-directory test-targets
	@$(MAKE) --no-print-directory test-emulated
	@$(MAKE) --no-print-directory test-portable
	@$(MAKE) --no-print-directory test-race
	@echo "== go test ./..."
	@scripts/gotest ./...

.PHONY: test-bench
test-bench: ## the unit tests of the benchmarks' own module
	@echo "== tests of bench/"
	@if [ -f bench/go.mod ]; then cd bench && ../scripts/gotest ./...; fi

.PHONY: test-portmap
test-portmap: ## the unit tests of the port mapping program, a module of its own
	@echo "== tests of portmap/"
	@cd portmap && ../scripts/gotest ./...

.PHONY: test-luci
test-luci: ## the page in LuCI, in Chromium, with a real tracker
	@echo "== LuCI app"
	@openwrt/luci-test/run

.PHONY: luci-screenshots
luci-screenshots: ## make the pictures of the LuCI pages in docs/ again
	@PICO_SCREENSHOTS=1 openwrt/luci-test/run --test-name-pattern='are made'

.PHONY: test-oldest test-newest
test-oldest: ## the unit tests with the oldest Go that must build it
test-oldest: export GOTOOLCHAIN = $(OLDEST_GO)
test-newest: ## the unit tests with the newest Go
test-newest: export GOTOOLCHAIN = $(NEWEST_GO)
test-oldest test-newest:
	@echo "== $(GOTOOLCHAIN)"
	@if ! go version; then \
		scripts/skip $(GOTOOLCHAIN) "the toolchain can't be had"; \
	else \
		go vet ./... && $(GO_BUILD) -o /dev/null . && scripts/gotest -short $(UNIT_TESTS); \
	fi

.PHONY: test-versions
test-versions: ## the oldest and the newest Go on all emulated processors; takes half an hour
	@for go in $(OLDEST_GO) $(NEWEST_GO); do \
		GOTOOLCHAIN=$$go $(MAKE) --no-print-directory -k -j$(EMULATED_JOBS) --output-sync $(addprefix test-emulated-,$(EMULATED) mips64) || exit; \
	done

.PHONY: test-targets
test-targets: ## every target builds, some are built again and compared, the size limit holds
	@echo "== $(words $(TARGETS)) targets"
	@$(MAKE) --no-print-directory -j$(JOBS) binaries
	@MAKE='$(MAKE)' VERSION='$(VERSION)' scripts/reproduce $(foreach t,$(REPRODUCED),$(call binary,$t))
	@$(call cross,linux-mipsle) scripts/size-by-go -limit $(SIZE_LIMIT) $(OPENWRT_GO) -- $(GO_BUILD)

.PHONY: test-emulated
test-emulated: ## the unit tests under qemu-user: seven processors, and two with the oldest and the newest Go
	@echo "== qemu-user: $(EMULATED), mipsle with $(OLDEST_GO), mips64 with $(NEWEST_GO)"
	@$(MAKE) --no-print-directory -k -j$(EMULATED_JOBS) --output-sync $(addprefix test-emulated-,$(EMULATED) oldest newest)

.PHONY: test-emulated-oldest test-emulated-newest
test-emulated-oldest:
	@! GOTOOLCHAIN=$(OLDEST_GO) go version || GOTOOLCHAIN=$(OLDEST_GO) $(MAKE) --no-print-directory test-emulated-mipsle
test-emulated-newest:
	@! GOTOOLCHAIN=$(NEWEST_GO) go version || GOTOOLCHAIN=$(NEWEST_GO) $(MAKE) --no-print-directory test-emulated-mips64

# QEMU_CPU is a processor without the features that GOARM=5 must not use.
.PHONY: $(addprefix test-emulated-,$(EMULATED) mips64)
test-emulated-armv5: export QEMU_CPU := arm926
$(addprefix test-emulated-,$(EMULATED) mips64): test-emulated-%:
	@arch=$(patsubst armv%,arm,$(subst mipsle,mipsel,$(subst arm64,aarch64,$*))); \
	if qemu=$$(command -v qemu-$$arch-static || command -v qemu-$$arch); then \
		echo "$*:" && $(call cross,linux-$*) scripts/gotest -short -exec "$$qemu" $(UNIT_TESTS); \
	else \
		scripts/skip "the tests on $*" "no qemu-$$arch"; \
	fi

.PHONY: test-portable
test-portable: ## the unit tests with the sockets of other systems than Linux
	@echo "== portable sockets"
	@scripts/gotest -short -tags portable $(UNIT_TESTS)

# The long tests have one goroutine each, except for TestConcurrent.
.PHONY: test-race
test-race: ## the unit tests under the race detector
	@echo "== race detector"
	@if command -v "$$(go env CC)" >/dev/null; then \
		CGO_ENABLED=1 scripts/gotest -race -short $(UNIT_TESTS) && \
		CGO_ENABLED=1 scripts/gotest -race -run TestConcurrent .; \
	else \
		scripts/skip "the race detector" "it needs a C compiler"; \
	fi

.PHONY: fuzz
fuzz: ## every fuzz target for a while (FUZZTIME=1m)
	@scripts/fuzz $(FUZZTIME)

.PHONY: mutants
mutants: ## small changes of the program, one by one: which does no test notice? (MUTANTS="internal/udp pool.go" ARGS="-every 10")
	@go run ./scripts/mutants -gremlins $(GREMLINS) $(ARGS) $(MUTANTS)

.PHONY: test-clients
test-clients: ## every BitTorrent client that the package registries have, with a table of results
	@scripts/install $$(grep -hv '^#' e2e/packages.txt e2e/clients.txt)
	@scripts/install-clients
	@PICO_CLIENTS=1 PICO_NO_SKIP=1 go test -count=1 -v -timeout 40m -run TestClients ./e2e

.PHONY: soak
soak: ## honest swarms during all kinds of faults (SOAKTIME=10m), with a verdict
	@scripts/install $$(grep -hv '^#' e2e/packages.txt)
	@PICO_SOAK_TIME=$(SOAKTIME) PICO_NO_SKIP=1 go test -count=1 -v -timeout 0 -run TestSoak ./e2e

.PHONY: boards-system
boards-system: ## the binary as the only service of machines in qemu; fetches Debian's kernels
	@scripts/install qemu-system-mips qemu-system-arm cpio make
	@go test -count=1 -v -tags system -run TestSystem ./boards

##@ Figures

.PHONY: bench
bench: bench-tools ## speed beside the reference, opentracker and a naive tracker (ARGS=...)
	cd bench && go run ./cmd/bench -out results $(ARGS)

.PHONY: bench-home
bench-home: bench-tools ## cost of a few requests a second, and of none (ARGS=...)
	cd bench && go run ./cmd/bench -run home -rounds 3 -subjects pico-tracker,reference,opentracker,aquatic_udp -out results $(ARGS)

.PHONY: bench-memory
bench-memory: bench-tools ## memory of torrents and swarms, and whether -memory holds (ARGS=...)
	cd bench && go run ./cmd/bench -run memory,caps -out results $(ARGS)

.PHONY: bench-flood
bench-flood: bench-tools ## what honest clients get during an attack, beside opentracker (ARGS=...)
	cd bench && go run ./cmd/bench -run flood -rounds 3 -subjects pico-tracker,opentracker -out results $(ARGS)

.PHONY: bench-scale
bench-scale: bench-tools ## 50,000,000 peers in eight instances behind a balancer (ARGS=...)
	@scripts/install nftables procps util-linux
	cd bench && go run ./cmd/bench -run scale -subjects pico-tracker -out results $(ARGS)

.PHONY: bench-tools
bench-tools:
	@scripts/install opentracker gcc libc6-dev iproute2

.PHONY: instructions
instructions: ## instructions for a request on each processor, counted by qemu; fails if they grow
	@scripts/install qemu-user gcc libc6-dev
	@go test -count=1 -v -tags instructions -run TestInstructions ./boards

.PHONY: size
size: binaries ## size of each target, raw and packed, by version of Go and by package
	@scripts/install xz-utils
	@scripts/size $(foreach t,$(TARGETS),$(call binary,$t))
	@echo
	@$(call cross,linux-mipsle) scripts/size-by-go $(OLDEST_GO) $(OPENWRT_GO) $(NEWEST_GO) -- $(GO_BUILD)
	@$(call cross,linux-mipsle) scripts/contributors

##@ Release

.PHONY: dist
dist: clean-dist ## dist/ with a static binary for every target and SHA256SUMS
	@$(MAKE) --no-print-directory -j$(JOBS) binaries binaries-portmap
	@MAKE='$(MAKE)' VERSION='$(VERSION)' scripts/reproduce $(foreach t,$(TARGETS),$(call binary,$t)) \
		$(addprefix dist/pico-tracker-portmap-,$(PORTMAP_TARGETS))
	cd dist && $$(command -v sha256sum || echo shasum -a 256) pico-tracker-* >SHA256SUMS

.PHONY: packages
packages: binaries binaries-portmap ## dist/packages/ with .deb, .ipk, .apk and their like
	rm -rf dist/packages
	VERSION='$(VERSION)' packaging/build

.PHONY: release
release: ## check, test, and make every file of a release in dist/release (VERSION=0.1.0)
	@packaging/release-check '$(RELEASE)'
	@PICO_NO_SKIP=1 $(MAKE) --no-print-directory check test
	@$(MAKE) --no-print-directory release-files
	@MAKE='$(MAKE)' VERSION='$(VERSION)' packaging/release-reproduce
	@PICO_NO_SKIP=1 $(MAKE) --no-print-directory test-release

# One version of Go and the clone of one commit give the same files everywhere.
.PHONY: release-files
release-files: export GOTOOLCHAIN = $(OPENWRT_GO)
release-files: clean-dist ## the files of a release, without tests
	@$(MAKE) --no-print-directory packages
	@VERSION='$(VERSION)' packaging/release

.PHONY: test-release
test-release: ## install what is in dist/release as the README says
	@scripts/install $$(grep -hv '^#' packaging/packages.txt)
	@echo "== install from dist/release"
	@PICO_RELEASE=$(CURDIR)/dist/release scripts/gotest -tags installation -run TestInstall ./packaging

.PHONY: openwrt-feed
openwrt-feed: ## a feed with OpenWrt's own SDK in docker (OPENWRT=25.12.5 ARCH=mipsel_24kc)
	@packaging/openwrt-feed '$(OPENWRT)' '$(ARCH)'

.PHONY: openwrt-upstream
openwrt-upstream: ## dist/upstream/ as openwrt/packages and openwrt/luci take it (TAG=v1.0.0 MAINTAINER='Name <address>')
	@packaging/upstream '$(TAG)' '$(MAINTAINER)' '$(or $(TARBALL),dist/release/pico-tracker-$(patsubst v%,%,$(TAG)).tar.gz)'

.PHONY: list-targets list-release-go
list-targets:
	@echo $(TARGETS)
list-release-go:
	@echo $(OPENWRT_GO)

.PHONY: clean-dist
clean-dist:
	@rm -rf dist

.PHONY: binaries $(addprefix binary-,$(TARGETS))
binaries: $(addprefix binary-,$(TARGETS))
$(addprefix binary-,$(TARGETS)): binary-%:
	@$(call cross,$*) $(GO_BUILD) -o $(call binary,$*) .

.PHONY: binaries-portmap $(addprefix binary-portmap-,$(PORTMAP_TARGETS))
binaries-portmap: $(addprefix binary-portmap-,$(PORTMAP_TARGETS))
$(addprefix binary-portmap-,$(PORTMAP_TARGETS)): binary-portmap-%:
	@cd portmap && $(call cross,$*) $(GO_BUILD) -o ../dist/pico-tracker-portmap-$* .
