package judges

// What a gateway with Berth does, whatever installed it.

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func checkHappyPath(t *testing.T, b *berth, c *client) {
	t.Helper()
	header := c.login(t)
	got := c.send(t, http.MethodGet, "/api/x", header, nil)
	if got.status != http.StatusOK || !strings.Contains(got.body, "Bearer ") {
		t.Fatalf("/api/x: %d %s", got.status, got.body)
	}
	for _, path := range []string{"/app/sales.qvf", "/doc/doc/drugcases.qvf"} {
		socket := c.open(t, path, header)
		call(t, socket)
		socket.Close()
	}
}

// forged returns headers that an attacker would send in case they are trusted.
func forged(destination string) http.Header {
	return http.Header{
		"X-Berth-Cluster":           {"engines"},
		"X-Berth-Destination":       {destination},
		"X-Envoy-Original-Dst-Host": {destination},
		"X-Berth-Account":           {"admin"},
		"X-Berth-Session":           {"forged"},
		"X-Qlik-Session":            {"11111111-1111-4111-8111-111111111111"},
		"X-Forwarded-For":           {"10.9.8.7"},
		"Authorization":             {"Bearer forged"},
	}
}

func checkForgedHeaders(t *testing.T, b *berth, c *client) {
	t.Helper()
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	headers := forged(trap.Addr().String())
	requests := b.app.requests.Load()
	if got := c.send(t, http.MethodGet, "/api/x", headers, nil); got.status != http.StatusUnauthorized {
		t.Fatalf("/api/x without a session: %d", got.status)
	}
	if got := c.send(t, http.MethodGet, "/session", headers, nil); got.status != http.StatusOK || !strings.Contains(got.body, `"anonymous":true`) {
		t.Fatalf("/session: %d %s", got.status, got.body)
	}
	if socket, got, err := c.upgrade("/app/sales.qvf", headers); err != nil || socket != nil || got.status != http.StatusUnauthorized {
		t.Fatalf("a WebSocket without a session: %v %d", err, got.status)
	}
	if b.app.requests.Load() != requests {
		t.Fatal("a request without a session reached the application")
	}
	headers["Cookie"] = c.login(t)["Cookie"]
	got := c.send(t, http.MethodGet, "/api/x", headers, nil)
	for _, name := range []string{"X-Berth-Cluster", "X-Berth-Destination", "X-Berth-Account", "X-Qlik-Session", "X-Envoy-Original-Dst-Host", "forged", "10.9.8.7"} {
		if got.status != http.StatusOK || strings.Contains(got.body, name) {
			t.Fatalf("%s reached the application: %d %s", name, got.status, got.body)
		}
	}
	if !strings.Contains(got.body, `"X-Berth-Session":["live"]`) {
		t.Fatalf("the state of the session: %s", got.body)
	}
	c.open(t, "/app/sales.qvf", headers)
	if seen := b.upgrades(t); strings.Contains(seen, "11111111-1111") || strings.Contains(seen, "Bearer forged") || strings.Contains(seen, trap.Addr().String()) {
		t.Fatalf("forged headers reached an engine: %s", seen)
	}
	trap.(*net.TCPListener).SetDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := trap.Accept(); err == nil {
		t.Fatal("the forged destination was reached")
	}
}

func checkRefusals(t *testing.T, b *berth, c *client) {
	t.Helper()
	header := c.login(t)
	for _, refused := range []struct {
		path   string
		header http.Header
		status int
		reason string
	}{
		{"/app/sales.qvf", nil, http.StatusUnauthorized, "no-session"},
		{"/app/sales.qvf", header, http.StatusUpgradeRequired, "upgrade-required"},
		{"/api/x", nil, http.StatusUnauthorized, "no-session"},
		{"/nowhere", header, http.StatusNotFound, "no-route"},
		{"/v1/engines", header, http.StatusNotFound, "no-route"},
		{"/metrics", header, http.StatusNotFound, "no-route"},
		{"/app%2fsales.qvf", header, http.StatusNotFound, "no-route"},
		{"/api/x%2fy", header, http.StatusBadRequest, "bad-request"},
	} {
		got := c.send(t, http.MethodGet, refused.path, refused.header, nil)
		if got.status != refused.status || !strings.Contains(got.body, refused.reason) {
			t.Errorf("%s: %d %s", refused.path, got.status, got.body)
		}
	}
	// Over HTTP/2, Envoy resets the stream instead of answering 400.
	underscore := http.Header{"X_berth_cluster": {"engines"}}
	if got, err := c.try(http.MethodGet, "/session", underscore, nil); err == nil && got.status != http.StatusBadRequest {
		t.Errorf("a name with underscores: %d", got.status)
	}
	for path, status := range map[string]int{"/app/sales.qvf": http.StatusUnauthorized, "/api/x": http.StatusForbidden} {
		socket, got, err := c.upgrade(path, nil)
		if err != nil || socket != nil || got.status != status {
			t.Errorf("a WebSocket to %s: %v %d %s", path, err, got.status, got.body)
		}
	}
	large := c.send(t, http.MethodPost, "/login", nil, strings.NewReader(strings.Repeat("x", 70_000)))
	if large.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", large.status)
	}
}

// checkClosed checks that no request reaches an engine or the application, even one that forges the filter's headers.
func checkClosed(t *testing.T, b *berth, c *client) {
	t.Helper()
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	requests, sockets := b.app.requests.Load(), b.upgrades(t)
	for _, header := range []http.Header{nil, forged(trap.Addr().String()), {"Cookie": {"__Host-berth=invented"}}} {
		got, err := c.try(http.MethodGet, "/api/x", header, nil)
		if err == nil && got.status < http.StatusBadRequest {
			t.Fatalf("/api/x: %d %s", got.status, got.body)
		}
		if socket, got, err := c.upgrade("/app/sales.qvf", header); err == nil && socket != nil {
			t.Fatalf("/app/sales.qvf: %d", got.status)
		}
	}
	trap.(*net.TCPListener).SetDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := trap.Accept(); err == nil {
		t.Fatal("the forged destination was reached")
	}
	if b.app.requests.Load() != requests || b.upgrades(t) != sockets {
		t.Fatal("a request got past")
	}
}

const (
	attackConnections = 86
	attackStreams     = 100
)

// checkAttack exhausts what strangers can: thousands of requests to the service whose bodies never come, then invented
// cookies. Afterwards every worker still answers.
func checkAttack(t *testing.T, c *client) {
	t.Helper()
	var attackers []*http.Transport
	var bodies []*io.PipeWriter
	var lock sync.Mutex
	for range attackConnections {
		transport := c.transport()
		attackers = append(attackers, transport)
		// The first request opens the connection, which the others then share.
		probe := http.Client{Transport: transport, Timeout: 15 * time.Second}
		if response, err := probe.Get("https://" + host + "/session"); err == nil {
			response.Body.Close()
		}
		for range attackStreams {
			reader, writer := io.Pipe()
			lock.Lock()
			bodies = append(bodies, writer)
			lock.Unlock()
			request, err := http.NewRequest(http.MethodPost, "https://"+host+"/login", reader)
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = 10
			go func() {
				if response, err := transport.RoundTrip(request); err == nil {
					response.Body.Close()
				}
			}()
		}
	}
	time.Sleep(2 * time.Second)
	for number := range 8 {
		c.try(http.MethodGet, "/api/x", http.Header{"Cookie": {fmt.Sprintf("__Host-berth=invented-%d", number)}}, nil)
	}
	for _, body := range bodies {
		body.CloseWithError(io.ErrUnexpectedEOF)
	}
	for _, transport := range attackers {
		transport.CloseIdleConnections()
	}
	// Connections are spread over the workers: one worker that hangs would leave some unanswered.
	var answered sync.WaitGroup
	failed := make(chan error, 32)
	for range cap(failed) {
		answered.Go(func() {
			transport := c.transport()
			defer transport.CloseIdleConnections()
			probe := http.Client{Transport: transport, Timeout: 2 * time.Second}
			response, err := probe.Get("https://" + host + "/session")
			if err != nil {
				failed <- err
				return
			}
			response.Body.Close()
		})
	}
	answered.Wait()
	close(failed)
	if err := <-failed; err != nil {
		t.Fatalf("after the attack, a worker does not answer: %v", err)
	}
}
