# make run     build and start a server on this machine
# make test    all tests, as CI runs them
# make test-engine  the engine of Element X, matrix-rust-sdk (needs Rust, compiles for ten minutes)
# make bench   measure a whole server
# make torture MINUTES=30  kill -9, power cuts, full disks, backups under load, again and again
# make fuzz SECONDS=20     every fuzz target for so long
# make lint    static checks
# make build   bin/hearth
# make clean   remove what was built (not your data)

GO ?= go
export CGO_ENABLED := 1

.PHONY: run build test test-engine torture fuzz bench lint clean

run: build
	@bin/hearth serve $(ARGS)

build:
	@.ci/setup gcc
	$(GO) build -trimpath -o bin/hearth ./cmd/hearth

test:
	@.ci/test $(ARGS)

test-engine:
	$(GO) test -tags engine -run Engine -timeout 90m ./test/client

torture:
	@.ci/torture $(or $(MINUTES),30) $(ARGS)

fuzz:
	@.ci/fuzz $(or $(SECONDS),20) $(PATTERN)

bench: build
	$(GO) run ./test/bench $(ARGS)
	$(GO) run ./test/bench -sync
	$(GO) test -run - -bench Crowd -benchtime 20x ./test/encryption
	$(GO) test -run - -bench 'Messages|Join|Directory|Window' ./roomserver
	$(GO) test -run - -bench . -benchtime 20x ./clientapi/devicekeys
	$(GO) test -run - -bench Transfer ./clientapi/media
	$(GO) test -run - -bench 'Receive$$' -benchtime 5000x ./roomserver
	$(GO) test -run - -bench Resolve ./roomserver/stateres
	$(GO) test -run - -bench FanOut -benchtime 10x ./federationapi/outbound
	$(GO) test -run - -bench Transaction ./federationapi

lint:
	@.ci/lint

clean:
	rm -rf bin
	rm -rf test/*/js/node_modules test/encryption/nio/.venv
