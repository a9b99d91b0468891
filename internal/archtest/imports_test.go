package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func readText(name string) (string, error) {
	text, err := os.ReadFile(name)
	return string(text), err
}

var (
	components = []string{"roomserver", "federationapi", "clientapi", "syncapi"}
	contracts  = []string{"roomserver/roomapi", "federationapi/remoteapi", "clientapi/userapi", "syncapi/viewapi"}
)

// forbidden returns why a file may not import a package, or "".
func forbidden(s source, imported string) string {
	if why := outside(s, imported); why != "" {
		return why
	}
	to, ok := inTree(imported)
	from, _ := inTree(s.pkg)
	if !ok || from == to {
		return ""
	}
	switch {
	case under(to, "internal/testkit") && !s.test && !under(from, "internal/testkit") && !under(from, "test") &&
		!strings.HasSuffix(from, "test"):
		return "testkit fakes and breaks things; the program must not hold it"
	case under(from, "internal"):
		return forInternal(to)
	case under(from, "config"):
		return onlyIf(to == "internal/pdu", "config is read before anything is built: it knows nothing but the grammar of names")
	case under(from, "cmd"), under(from, "test"):
		return ""
	case slices.Contains(contracts, from):
		return forContract(to)
	case under(to, "config"):
		return "a component gets plain values in its Deps, so it can be tested and split off without the program's configuration"
	}
	component := of(from)
	if under(from, component+"/storage") {
		return forStorage(component, to)
	}
	return forComponent(component, to)
}

// outside holds the rules about packages of others.
func outside(s source, imported string) string {
	from, _ := inTree(s.pkg)
	switch {
	case under(imported, "github.com/nats-io"):
		return onlyIf(under(from, "internal/bus") || under(from, "internal/testkit"),
			"only internal/bus knows NATS, so that what may be lost on the wire is handled in one place")
	case under(imported, "github.com/mattn/go-sqlite3"), under(imported, "github.com/jackc/pgx"),
		imported == "database/sql/driver":
		return onlyIf(under(from, "internal/store") || under(from, "internal/testkit"),
			"only internal/store knows the engines, so that queries are written once and durability is decided in one place")
	}
	return ""
}

func forInternal(to string) string {
	if under(to, "config") || under(to, "cmd") || slices.Contains(components, of(to)) {
		return "internal packages serve all components and know none"
	}
	return ""
}

func forContract(to string) string {
	return onlyIf(slices.Contains([]string{"internal/bus", "internal/merr", "internal/pdu", "internal/pduwire"}, to),
		"a contract is what others know of a component: it imports no component, no other contract and no machinery")
}

func forStorage(component, to string) string {
	return onlyIf(under(to, "internal") || under(to, component+"/storage") ||
		of(to) == component && slices.Contains(contracts, to),
		"storage keeps rows and decides nothing: it knows internal packages and the types of its own contract")
}

func forComponent(component, to string) string {
	return onlyIf(under(to, "internal") || of(to) == component || slices.Contains(contracts, to),
		"components know each other by their contracts alone, so that each can be understood, replaced and run by itself")
}

// of returns the first element of a path: the component.
func of(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

func onlyIf(allowed bool, why string) string {
	if allowed {
		return ""
	}
	return why
}

func TestImports(t *testing.T) {
	for _, s := range tree(t) {
		for _, imported := range s.imports {
			if why := forbidden(s, imported); why != "" {
				t.Errorf("%s may not import %s: %s", s.path, imported, why)
			}
		}
	}
}

// The rules themselves: a rule that refuses nothing would pass unnoticed.
func TestImportRules(t *testing.T) {
	for _, tc := range []struct {
		from, imported string
		allowed        bool
	}{
		{"cmd/hearth/wire.go", "hearth/roomserver", true},
		{"cmd/hearth/wire.go", "hearth/config", true},
		{"cmd/hearth/wire.go", "github.com/nats-io/nats.go", false},
		{"cmd/hearth/wire.go", "hearth/internal/testkit/postgres", false},
		{"cmd/hearth/wire_test.go", "hearth/internal/testkit/postgres", true},
		{"roomserver/send.go", "hearth/roomserver/storage", true},
		{"roomserver/send.go", "hearth/clientapi/userapi", true},
		{"roomserver/send.go", "hearth/clientapi", false},
		{"roomserver/send.go", "hearth/clientapi/account", false},
		{"roomserver/send.go", "hearth/clientapi/userapi/deep", false},
		{"roomserver/send_test.go", "hearth/syncapi", false},
		{"roomserver/send.go", "hearth/config", false},
		{"roomserver/send.go", "hearth/cmd/hearth", false},
		{"roomserver/send.go", "database/sql/driver", false},
		{"roomserver/send.go", "github.com/nats-io/nats-server/v2/server", false},
		{"roomserver/roomapi/calls.go", "hearth/internal/bus", true},
		{"roomserver/roomapi/calls.go", "hearth/internal/store", false},
		{"roomserver/roomapi/calls.go", "hearth/roomserver", false},
		{"roomserver/roomapi/calls.go", "hearth/clientapi/userapi", false},
		{"roomserver/storage/db.go", "hearth/internal/store", true},
		{"roomserver/storage/db.go", "hearth/roomserver/roomapi", true},
		{"roomserver/storage/db.go", "hearth/roomserver", false},
		{"roomserver/storage/db.go", "hearth/roomserver/state", false},
		{"roomserver/storage/db.go", "hearth/clientapi/userapi", false},
		{"roomserver/storage/db.go", "github.com/mattn/go-sqlite3", false},
		{"internal/store/sqlite.go", "github.com/mattn/go-sqlite3", true},
		{"internal/store/pg.go", "github.com/jackc/pgx/v5", true},
		{"internal/store/storetest/each.go", "hearth/internal/testkit/postgres", true},
		{"internal/bus/bus.go", "github.com/nats-io/nats.go", true},
		{"internal/lru/lru.go", "hearth/roomserver/roomapi", false},
		{"internal/lru/lru.go", "hearth/config", false},
		{"config/load.go", "go.yaml.in/yaml/v3", true},
		{"config/load.go", "hearth/internal/bus", false},
		{"test/crash/crash_test.go", "hearth/internal/testkit/natsserver", true},
		{"test/harness/server.go", "hearth/internal/testkit/postgres", true},
	} {
		s := parse(tc.from, "package p\n\nimport _ \""+tc.imported+"\"\n")
		if why := forbidden(s, tc.imported); (why == "") != tc.allowed {
			t.Errorf("%s imports %s: allowed %v (%s)", tc.from, tc.imported, why == "", why)
		}
	}
}
