package judges

// What is behind the gateway: the placement service, simulated engines, and an application that shows what reached it.

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

const tokenKey = "a-key-of-the-judges-that-is-long-enough"

const serviceConfig = `
store: { kind: sqlite, path: %q }
log: { format: text }
tokens: { key: { inline: %s } }
pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery:
      static: [%s]
routes:
  - { path: "/app/{document}", pool: qix, open: { document: "{document}" } }
  - { path: "/doc/doc/{document}", pool: qix, open: { document: "/doc/{document}" } }
`

// berth is a placement service with the account demo / demo-password, two engines, and an application.
type berth struct {
	service int // port
	engines []*engine
	app     *application
}

type engine struct{ api, metrics string }

// application answers every request with the headers that reached it.
type application struct {
	port     int
	requests atomic.Int64
}

func startBerth(t testing.TB) *berth {
	t.Helper()
	started := &berth{app: startApplication(t)}
	folder := t.TempDir()
	var pool []string
	for number := range 2 {
		name := fmt.Sprintf("engine-%d", number)
		process := start(t, name, folder, nil, binary("engine-sim"), "--name", name, "--jwt-secret", tokenKey,
			"--api", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--document", "sales.qvf=1", "--document", "drugcases.qvf=1")
		line := process.waitForLine(t, startTimeout, "listening ")
		found := regexp.MustCompile(`api=(\S+) metrics=(\S+)`).FindStringSubmatch(line)
		started.engines = append(started.engines, &engine{found[1], found[2]})
		_, api, _ := net.SplitHostPort(found[1])
		_, metrics, _ := net.SplitHostPort(found[2])
		pool = append(pool, fmt.Sprintf("{ name: %s, ip: 127.0.0.1, port: %s, metrics_port: %s }", name, api, metrics))
	}
	config := filepath.Join(folder, "berth.yaml")
	write(t, config, fmt.Sprintf(serviceConfig, filepath.Join(folder, "berth.db"), tokenKey, strings.Join(pool, ", ")))
	account := exec.Command(binary("berth"), "account", "add", "demo", "--role", "user", "--password-stdin", "--config", config)
	account.Stdin = strings.NewReader("demo-password\n")
	if output, err := account.CombinedOutput(); err != nil {
		t.Fatalf("berth account add: %v\n%s", err, output)
	}
	service := start(t, "berth", folder, nil, binary("berth"), "serve", "--config", config, "--listen", "127.0.0.1:0")
	line := service.waitForLine(t, startTimeout, "listening ")
	found := regexp.MustCompile(`http=127\.0\.0\.1:(\d+)`).FindStringSubmatch(line)
	fmt.Sscan(found[1], &started.service)
	return started
}

func startApplication(t testing.TB) *application {
	t.Helper()
	app := &application{}
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		app.requests.Add(1)
		json.NewEncoder(response).Encode(request.Header)
	}))
	t.Cleanup(server.Close)
	app.port = server.Listener.Addr().(*net.TCPAddr).Port
	return app
}

// sockets returns how many WebSockets are open on all engines.
func (b *berth) sockets(t testing.TB) int {
	t.Helper()
	total := 0
	for _, engine := range b.engines {
		var stats struct{ Sockets int }
		text, err := get("http://" + engine.metrics + "/admin/stats")
		if err == nil {
			err = json.Unmarshal([]byte(text), &stats)
		}
		if err != nil {
			t.Fatal(err)
		}
		total += stats.Sockets
	}
	return total
}

// upgrades returns the text of the latest upgrade requests that reached the engines.
func (b *berth) upgrades(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for _, engine := range b.engines {
		text, err := get("http://" + engine.metrics + "/admin/upgrades")
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(text)
	}
	return all.String()
}
