package judges

// The mesh of the tests: Istio, the placement service behind a sidecar, and gateways with the shipped manifests.

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// behindTheGateway tells Istio where service and application listen, since no kubelet runs their pods.
const behindTheGateway = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: berth, namespace: berth }
spec:
  hosts: [berth.berth.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 9455, name: http2, protocol: HTTP2 }]
  endpoints:
    - address: 127.0.0.1
      ports: { http2: %[1]d }
      labels: { app.kubernetes.io/name: berth, app.kubernetes.io/component: service, security.istio.io/tlsMode: istio }
      serviceAccount: berth
---
# The sidecar listens on a port of its own: nothing redirects the connections of a process to it.
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: berth, namespace: berth }
spec:
  workloadSelector: { labels: { app.kubernetes.io/name: berth, app.kubernetes.io/component: service } }
  ingress:
    - port: { number: %[1]d, name: http2, protocol: HTTP2 }
      bind: 127.0.0.1
      captureMode: NONE
      defaultEndpoint: 127.0.0.1:%[2]d
  egress: [{ hosts: ["./*"] }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app, namespace: berth }
spec:
  hosts: [app.berth.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: %[3]d } }]
`

type meshLab struct {
	*istiod
	*berth
	sidecar int // port
	roots   *client
}

// startMesh starts everything but a gateway.
func startMesh(t testing.TB) *meshLab {
	t.Helper()
	lab := &meshLab{istiod: startIstiod(t, startCluster(t, "kube")), berth: startBerth(t), sidecar: freePorts(t, 1)[0]}
	lab.apply(t, fmt.Sprintf(behindTheGateway, lab.sidecar, lab.service, lab.app.port))
	chart := gatewayChart(t)
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget"} {
		chart = without(chart, kind)
	}
	lab.kubectl(t, chart, "apply", "-n", "istio-ingress", "-f", "-")
	certificate, key, roots := certificate(t)
	lab.roots = &client{scheme: "https", roots: roots}
	secret := "{ apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: { name: berth-tls, namespace: istio-ingress }, " +
		"stringData: { tls.crt: %q, tls.key: %q } }"
	lab.apply(t, fmt.Sprintf(secret, certificate, key))
	sidecar := lab.startAgent(t, proxy{
		name: "sidecar", namespace: "berth", account: "berth", role: "sidecar",
		labels: map[string]string{"app.kubernetes.io/name": "berth", "app.kubernetes.io/component": "service"}, env: []string{"ISTIO_META_INTERCEPTION_MODE=NONE"},
	})
	sidecar.waitUntilReady(t)
	sidecar.waitFor(t, startTimeout, func() error { return listens(lab.sidecar) })
	return lab
}

// gateway is one install on one gateway.
type gateway struct {
	*agent
	*client
	plain     *client
	manifests string
}

// install adapts the shipped manifests to this machine: other ports, and another place of the filter.
func (l *meshLab) install(t testing.TB, folder, image string) *gateway {
	t.Helper()
	ports := freePorts(t, 2)
	manifests := render(t, folder)
	for _, change := range [][2]string{
		{`(number|portNumber|port): 443\b`, fmt.Sprintf("$1: %d", ports[0])},
		{`berth\.example\.com:443\b`, fmt.Sprintf("berth.example.com:%d", ports[0])},
		{`number: 80\b`, fmt.Sprintf("number: %d", ports[1])},
		{`/var/lib/berth/plugin\.wasm`, filterModule()},
		{`oci://registry\.example\.com/berth-filter:0\.1\.0`, image},
		// An idle WebSocket must outlast this limit; a test cannot wait for five minutes.
		{`stream_idle_timeout: 300s`, "stream_idle_timeout: 3s"},
	} {
		manifests = regexp.MustCompile(change[0]).ReplaceAllString(manifests, change[1])
	}
	l.apply(t, manifests)
	return &gateway{
		client:    &client{scheme: "https", port: ports[0], roots: l.roots.roots},
		plain:     &client{scheme: "http", port: ports[1]},
		manifests: manifests,
	}
}

// start starts the gateway's agent and waits until the gateway answers.
func (l *meshLab) start(t testing.TB, g *gateway, name string, labels map[string]string, account string) {
	t.Helper()
	g.agent = l.startAgent(t, proxy{
		name: name, namespace: "istio-ingress", account: account, role: "router", labels: labels,
		env: gatewayEnv(),
	})
	g.waitUntilReady(t)
	g.waitFor(t, startTimeout, func() error { return listens(g.port) })
}

// gatewayEnv is what the pod of a gateway has by gateway-values.yaml, and the permission to use a registry without TLS.
func gatewayEnv() []string {
	return []string{
		"BERTH_TOKEN_KEY=" + tokenKey,
		"ISTIO_BOOTSTRAP_OVERRIDE=" + filepath.Join(repository, "envoy/istio/base/bootstrap.yaml"),
		"WASM_INSECURE_REGISTRIES=*",
	}
}

// remove deletes the install's objects and ends its gateway.
func (l *meshLab) remove(t testing.TB, g *gateway) {
	t.Helper()
	l.kubectl(t, g.manifests, "delete", "-f", "-")
	g.kill()
}

// uses waits until the gateway answers requests as expected, since a change takes time to arrive.
func (g *gateway) uses(t testing.TB, method, path string, status int) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		got, err := g.try(method, path, nil, nil)
		if err == nil && got.status != status {
			err = fmt.Errorf("%s %s: %d %s", method, path, got.status, strings.TrimSpace(got.body))
		}
		return err
	})
}
