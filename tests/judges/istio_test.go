package judges

// The installs of envoy/istio, on Istio itself: what works, what is refused, what happens when something is wrong.

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var ingressLabels = map[string]string{"istio": "ingressgateway"}

// everyEnvoyFilter is what istiod says about each EnvoyFilter, whatever it contains.
const everyEnvoyFilter = "Warning: EnvoyFilter exposes internal implementation details that may change at any time. " +
	"Prefer other APIs if possible, and exercise extreme caution, especially around upgrades.\n"

func TestIstio(t *testing.T) {
	lab := startMesh(t)
	for _, folder := range istioInstalls {
		t.Run("istiod accepts "+filepath.Base(folder)+" without a warning", func(t *testing.T) {
			if complaints := strings.ReplaceAll(lab.judge(render(t, folder)), everyEnvoyFilter, ""); complaints != "" {
				t.Fatal(complaints)
			}
		})
	}
	t.Run("istiod warns about an unknown field in a patch", func(t *testing.T) {
		misspelt := strings.Replace(render(t, "envoy/istio/envoyfilter"), "merge_slashes", "merge_slashs", 1)
		if complaints := lab.judge(misspelt); !strings.Contains(complaints, "merge_slashs") {
			t.Fatalf("complaints: %q", complaints)
		}
	})
	gateway := lab.install(t, "envoy/istio/envoyfilter", "")
	lab.start(t, gateway, "gateway", ingressLabels, "istio-ingressgateway")
	t.Run("login, application and WebSocket", func(t *testing.T) { checkHappyPath(t, lab.berth, gateway.client) })
	t.Run("http is redirected to https", func(t *testing.T) {
		got := gateway.plain.send(t, http.MethodGet, "/login", nil, nil)
		if got.status != http.StatusMovedPermanently || got.header.Get("Location") != "https://"+host+"/login" {
			t.Fatalf("%d %v", got.status, got.header)
		}
	})
	t.Run("forged headers have no effect", func(t *testing.T) { checkForgedHeaders(t, lab.berth, gateway.client) })
	t.Run("refusals", func(t *testing.T) { checkRefusals(t, lab.berth, gateway.client) })
	t.Run("a WebSocket upgrade does not reach the service", func(t *testing.T) {
		for _, path := range []string{"/session", "/login", "/berth/berth.js"} {
			socket, got, err := gateway.upgrade(path, gateway.login(t))
			if err != nil || socket != nil || got.status != http.StatusForbidden {
				t.Fatalf("%s: %v %d %v", path, err, got.status, got.header)
			}
		}
	})
	t.Run("an idle WebSocket stays open", func(t *testing.T) {
		socket := gateway.open(t, "/app/sales.qvf", gateway.login(t))
		time.Sleep(6 * time.Second)
		call(t, socket)
	})
	t.Run("only the gateway calls the service", func(t *testing.T) { checkIdentities(t, lab) })
	t.Run("statistics have Berth's labels", func(t *testing.T) { checkStatistics(t, gateway) })
	t.Run("watchdog and limits are in the bootstrap", func(t *testing.T) {
		bootstrap := gateway.adminPage(t, "config_dump")
		for _, wanted := range []string{"multikill_timeout", "fixed_heap"} {
			if !strings.Contains(bootstrap, wanted) {
				t.Errorf("the bootstrap has no %s", wanted)
			}
		}
	})
	t.Run("the access log names the session and no query", func(t *testing.T) { checkAccessLog(t, gateway) })
	t.Run("a changed setting closes no socket", func(t *testing.T) {
		socket := gateway.open(t, "/app/sales.qvf", gateway.login(t))
		modified := gateway.stat(t, "listener_manager.listener_modified")
		lab.apply(t, strings.Replace(gateway.manifests, "login_path: /login", "login_path: /changed", 1))
		navigation := http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}}
		eventually(t, 30*time.Second, func() error {
			got := gateway.send(t, http.MethodGet, "/app/x", navigation, nil)
			if !strings.HasPrefix(got.header.Get("Location"), "/changed") {
				return fmt.Errorf("%d %v", got.status, got.header)
			}
			return nil
		})
		call(t, socket)
		if now := gateway.stat(t, "listener_manager.listener_modified"); now != modified {
			t.Fatalf("the listener was replaced: %d, %d", modified, now)
		}
		lab.apply(t, gateway.manifests)
	})
	wrong := strings.Replace(gateway.manifests, filterModule(), "/absent.wasm", 1)
	t.Run("a filter that is not there leaves the running one in place", func(t *testing.T) {
		lab.apply(t, wrong)
		eventually(t, 30*time.Second, func() error {
			// The name of the statistic contains that of the filter chain.
			if !strings.Contains(gateway.adminPage(t, "stats?filter=extension_config_discovery.*(update_rejected|config_fail)&usedonly"), ": ") {
				return fmt.Errorf("no refused update")
			}
			return nil
		})
		checkHappyPath(t, lab.berth, gateway.client)
	})
	suite := t
	t.Run("a fresh gateway without its filter is closed", func(t *testing.T) {
		gateway.kill()
		gateway.agent = lab.startAgent(t, proxy{name: "gateway-without-filter", namespace: "istio-ingress",
			account: "istio-ingressgateway", role: "router", labels: ingressLabels, env: gatewayEnv()})
		gateway.waitFor(t, startTimeout, func() error { _, err := get(fmt.Sprintf("http://127.0.0.1:%d/ready", gateway.admin)); return err })
		time.Sleep(3 * time.Second)
		checkClosed(t, lab.berth, gateway.client)
		gateway.kill()
		lab.apply(t, gateway.manifests)
		// It outlasts this test.
		lab.start(suite, gateway, "gateway-again", ingressLabels, "istio-ingressgateway")
		checkHappyPath(t, lab.berth, gateway.client)
	})
	t.Run("deleting the filter opens nothing, not even while it is deleted", func(t *testing.T) {
		hammer := startHammer(t, lab.berth, gateway.client)
		lab.kubectl(t, "", "delete", "envoyfilter", "berth-filter", "-n", "istio-ingress")
		gateway.uses(t, http.MethodGet, "/api/x", http.StatusServiceUnavailable)
		checkClosed(t, lab.berth, gateway.client)
		lab.kubectl(t, "", "delete", "envoyfilter", "berth-edge", "-n", "istio-ingress")
		gateway.uses(t, http.MethodGet, "/login", http.StatusNotFound)
		checkClosed(t, lab.berth, gateway.client)
		hammer.stop(t)
		lab.apply(t, gateway.manifests)
		gateway.uses(t, http.MethodGet, "/api/x", http.StatusUnauthorized)
		checkHappyPath(t, lab.berth, gateway.client)
	})
	lab.remove(t, gateway)
	for _, folder := range []string{"traffic-extension", "wasm-plugin"} {
		t.Run(folder+", from an OCI image", func(t *testing.T) {
			gateway := lab.install(t, "envoy/istio/"+folder, pushFilter(t))
			lab.start(t, gateway, "gateway-"+folder, ingressLabels, "istio-ingressgateway")
			gateway.uses(t, http.MethodGet, "/api/x", http.StatusUnauthorized)
			checkHappyPath(t, lab.berth, gateway.client)
			checkForgedHeaders(t, lab.berth, gateway.client)
			// This install cannot restrict the filter's capabilities.
			checkAttack(t, gateway.client)
			lab.remove(t, gateway)
		})
	}
}

// checkIdentities connects to the sidecar of the service: without a certificate, as another account, as the gateway.
func checkIdentities(t *testing.T, lab *meshLab) {
	if got, err := get(fmt.Sprintf("http://127.0.0.1:%d/v1/engines", lab.sidecar)); err == nil {
		t.Fatalf("without a certificate: %s", got)
	}
	allowed := map[string]bool{}
	for name, at := range map[string]proxy{
		"stranger": {name: "stranger", namespace: "berth", account: "stranger", role: "sidecar"},
		"gateway":  {name: "gateway-identity", namespace: "istio-ingress", account: "istio-ingressgateway", role: "router"},
	} {
		certificates := t.TempDir()
		at.env = []string{"OUTPUT_CERTS=" + certificates, "DISABLE_ENVOY=true"}
		agent := lab.startAgent(t, at)
		var pair tls.Certificate
		agent.waitFor(t, startTimeout, func() (err error) {
			pair, err = tls.LoadX509KeyPair(filepath.Join(certificates, "cert-chain.pem"), filepath.Join(certificates, "key.pem"))
			return err
		})
		transport := &http.Transport{
			// The server's name is an identity of the mesh, not a host.
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true, NextProtos: []string{"istio-http/1.1", "istio"}},
		}
		response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(fmt.Sprintf("https://127.0.0.1:%d/v1/engines", lab.sidecar))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		allowed[name] = !strings.Contains(string(body), "RBAC: access denied")
	}
	// What the service itself says to the gateway does not matter here.
	if allowed["stranger"] || !allowed["gateway"] {
		t.Fatal(allowed)
	}
}

func checkStatistics(t *testing.T, g *gateway) {
	text := g.adminPage(t, "stats/prometheus")
	for _, wanted := range []string{
		`berth_rejections{reason="no-session",route="/app/"}`,
		`envoy_cluster_upstream_rq_total{cluster_name="outbound|9455|placement|berth.berth.svc.cluster.local"`,
	} {
		if !strings.Contains(text, wanted) {
			var similar []string
			for line := range strings.Lines(text) {
				if strings.Contains(line, "berth_rejections") || strings.Contains(line, "9455") {
					similar = append(similar, line)
				}
			}
			t.Errorf("%s is missing; there is:\n%s", wanted, strings.Join(similar[:min(10, len(similar))], ""))
		}
	}
}

func checkAccessLog(t *testing.T, g *gateway) {
	header := g.login(t)
	g.send(t, http.MethodGet, "/api/logged?secret=of-a-client", header, nil)
	eventually(t, 30*time.Second, func() error {
		for line := range strings.Lines(g.output()) {
			if strings.Contains(line, " /api/logged ") && strings.Contains(line, "session=") {
				return nil
			}
		}
		return fmt.Errorf("no line with /api/logged and session=")
	})
	if strings.Contains(g.output(), "secret=of-a-client") {
		t.Fatal("the log contains a query")
	}
}

// hammer sends forged requests until it is stopped, and counts those that got past the filter.
type hammer struct {
	ended        chan struct{}
	stopped      atomic.Bool
	sent, passed atomic.Int64
	trap         net.Listener
}

func startHammer(t *testing.T, b *berth, c *client) *hammer {
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trap.Close() })
	h := &hammer{ended: make(chan struct{}), trap: trap}
	go func() {
		for {
			connection, err := trap.Accept()
			if err != nil {
				return
			}
			connection.Close()
			h.passed.Add(1)
		}
	}()
	before := b.app.requests.Load()
	go func() {
		defer close(h.ended)
		for !h.stopped.Load() {
			c.try(http.MethodGet, "/api/x", forged(trap.Addr().String()), nil)
			if socket, _, err := c.upgrade("/app/sales.qvf", forged(trap.Addr().String())); err == nil && socket != nil {
				socket.Close()
				h.passed.Add(1)
			}
			h.sent.Add(2)
		}
		h.passed.Add(b.app.requests.Load() - before)
	}()
	return h
}

func (h *hammer) stop(t *testing.T) {
	h.stopped.Store(true)
	<-h.ended
	if h.passed.Load() > 0 || h.sent.Load() < 10 {
		t.Fatalf("%d of %d forged requests got past", h.passed.Load(), h.sent.Load())
	}
}
