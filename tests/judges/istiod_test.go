package judges

// Istio's control plane on the cluster, and proxies: Istio's agent with the Envoy that Berth is tested with.

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mesh is Istio's configuration. Only the default provider of metrics differs from Istio's own: it needs extensions that
// only Istio's build of Envoy has. The access log is on, so that a test sees that the manifests turn it off.
const mesh = `
trustDomain: cluster.local
accessLogFile: /dev/stdout
enablePrometheusMerge: false
defaultProviders: {}
defaultConfig: { discoveryAddress: "localhost:%d" }
`

// webhook sends every object of Istio's to istiod for validation. istiod adds its certificate.
const webhook = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata:
  name: istio-validator-istio-system
  labels: { app: istiod, istio: istiod, istio.io/rev: default }
webhooks:
  - name: rev.validation.istio.io
    admissionReviewVersions: [v1]
    clientConfig: { url: "https://localhost:%d/validate" }
    failurePolicy: Ignore
    sideEffects: None
    rules:
      - apiGroups: [security.istio.io, networking.istio.io, telemetry.istio.io, extensions.istio.io]
        apiVersions: ["*"]
        operations: [CREATE, UPDATE]
        resources: ["*"]
`

const namespaces = `
{ apiVersion: v1, kind: Namespace, metadata: { name: istio-system } }
---
{ apiVersion: v1, kind: Namespace, metadata: { name: istio-ingress } }
---
{ apiVersion: v1, kind: Namespace, metadata: { name: berth } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: istio-ingressgateway, namespace: istio-ingress } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: berth, namespace: berth } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: stranger, namespace: berth } }
`

type istiod struct {
	*cluster
	*process
	discovery int
}

// startIstiod starts Istio's control plane, whose webhook then validates the cluster's objects.
func startIstiod(t testing.TB, on *cluster) *istiod {
	t.Helper()
	on.applyDefinitions(t, tool("crds/istio-1.31.4.yaml"), tool("crds/gateway-api"))
	on.apply(t, namespaces)
	ports := freePorts(t, 5)
	on.apply(t, fmt.Sprintf(webhook, ports[1]))
	folder := t.TempDir()
	write(t, filepath.Join(folder, "mesh.yaml"), fmt.Sprintf(mesh, ports[3]))
	env := []string{
		// Extensions that only Istio's build of Envoy has.
		"PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false",
		"POD_NAMESPACE=istio-system", "POD_NAME=istiod-0", "REVISION=default", "CLUSTER_ID=Kubernetes",
		"ISTIOD_CUSTOM_HOST=localhost", "PILOT_CERT_PROVIDER=istiod",
		"INJECTION_WEBHOOK_CONFIG_NAME=", "VALIDATION_WEBHOOK_CONFIG_NAME=istio-validator-istio-system",
	}
	args := []string{"discovery", "--kubeconfig", on.kubeconfig, "--meshConfig", filepath.Join(folder, "mesh.yaml")}
	for at, name := range []string{"--httpAddr", "--httpsAddr", "--grpcAddr", "--secureGRPCAddr", "--monitoringAddr"} {
		args = append(args, name, fmt.Sprintf("127.0.0.1:%d", ports[at]))
	}
	started := &istiod{on, start(t, "istiod", folder, env, tool("pilot-discovery"), args...), ports[3]}
	started.waitFor(t, startTimeout, func() error {
		_, err := get(fmt.Sprintf("http://127.0.0.1:%d/ready", ports[0]))
		return err
	})
	// The webhook is in force when the API server trusts istiod's certificate, and the root of the mesh is published.
	started.waitFor(t, startTimeout, func() error {
		bundle := on.kubectl(t, "", "get", "validatingwebhookconfiguration", "istio-validator-istio-system",
			"-o", "jsonpath={.webhooks[0].clientConfig.caBundle}{.webhooks[0].failurePolicy}")
		if !strings.HasSuffix(bundle, "Fail") || len(bundle) < 100 {
			return fmt.Errorf("the webhook is not in force: %q", bundle)
		}
		for _, namespace := range []string{"istio-ingress", "berth"} {
			if root, _, err := on.try("", "get", "configmap", "istio-ca-root-cert", "-n", namespace); err != nil {
				return fmt.Errorf("%v %s", err, root)
			}
		}
		return nil
	})
	return started
}

// proxy describes a pod with Istio's agent.
type proxy struct {
	name, namespace, account string
	role                     string // router or sidecar
	labels                   map[string]string
	env                      []string
}

type agent struct {
	*process
	admin, status int
	folder        string
}

// startAgent starts Istio's agent with the account's token; the agent starts Envoy.
func (i *istiod) startAgent(t testing.TB, p proxy) *agent {
	t.Helper()
	folder := t.TempDir()
	ports := freePorts(t, 5)
	write(t, filepath.Join(folder, "var/run/secrets/tokens/istio-token"), i.token(t, p.namespace, p.account, "istio-ca"))
	root := i.kubectl(t, "", "get", "configmap", "istio-ca-root-cert", "-n", p.namespace, "-o", `jsonpath={.data.root-cert\.pem}`)
	write(t, filepath.Join(folder, "var/run/secrets/istio/root-cert.pem"), root)
	labels, err := json.Marshal(p.labels)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"binaryPath": envoyBinary(), "configPath": filepath.Join(folder, "etc"), "concurrency": 2,
		"discoveryAddress": fmt.Sprintf("localhost:%d", i.discovery), "proxyAdminPort": ports[0], "statusPort": ports[1],
	})
	if err != nil {
		t.Fatal(err)
	}
	env := append([]string{
		"POD_NAME=" + p.name, "POD_NAMESPACE=" + p.namespace, "SERVICE_ACCOUNT=" + p.account,
		// An address that no endpoint has: otherwise the endpoint's labels would be the pod's.
		"INSTANCE_IP=127.0.9.9",
		"ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_MESH_ID=cluster.local", "ISTIO_META_WORKLOAD_NAME=" + p.name,
		"ISTIO_META_ISTIO_VERSION=1.31.0", "ISTIO_METAJSON_LABELS=" + string(labels),
		"PILOT_CERT_PROVIDER=istiod", fmt.Sprintf("CA_ADDR=localhost:%d", i.discovery), "PROXY_CONFIG=" + string(config),
		fmt.Sprintf("ENVOY_STATUS_PORT=%d", ports[2]), fmt.Sprintf("ENVOY_PROMETHEUS_PORT=%d", ports[3]),
	}, p.env...)
	started := start(t, p.name, folder, env, tool("pilot-agent"), "proxy", p.role,
		"--domain", p.namespace+".svc.cluster.local", "--proxyLogLevel=warning", "--templateFile", tool("envoy_bootstrap.json"))
	return &agent{started, ports[0], ports[1], folder}
}

// waitUntilReady waits until Envoy has its configuration.
func (a *agent) waitUntilReady(t testing.TB) {
	t.Helper()
	a.waitFor(t, startTimeout, func() error {
		_, err := get(fmt.Sprintf("http://127.0.0.1:%d/healthz/ready", a.status))
		return err
	})
}

// adminPage reads a page of Envoy's administration.
func (a *agent) adminPage(t testing.TB, path string) string {
	t.Helper()
	text, err := get(fmt.Sprintf("http://127.0.0.1:%d/%s", a.admin, path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// stat returns the value of one of Envoy's statistics, or -1 when there is none of that name.
func (a *agent) stat(t testing.TB, name string) int {
	t.Helper()
	value := -1
	for line := range strings.Lines(a.adminPage(t, "stats")) {
		if rest, ok := strings.CutPrefix(line, name+": "); ok {
			fmt.Sscan(rest, &value)
		}
	}
	return value
}

// get reads a page of a process of the judges; any status but 200 is an error.
func get(url string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(body), err
}
