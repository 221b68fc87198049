package judges

// Every manifest of envoy/ is accepted by a strict API server, with the definitions of each supported version of Istio.
// deploy.sh judges those of placement-service/deploy.

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kustomizations of the repository, and namespaces that their objects need.
var istioInstalls = []string{
	"envoy/istio/envoyfilter", "envoy/istio/traffic-extension", "envoy/istio/wasm-plugin", "envoy/istio/gateway-api",
}

// versions of Istio, with the installs for which it lacks something. The table "Versions" of envoy/istio/README.md says
// the same: 1.24 has no TrafficExtension, no FAIL_RELOAD of a WasmPlugin, and no targetRefs of an EnvoyFilter.
var versions = []struct {
	version string
	lacking []string
}{
	{"1.24.2", []string{"envoy/istio/traffic-extension", "envoy/istio/wasm-plugin", "envoy/istio/gateway-api"}},
	{"1.30.8", nil},
	{"1.31.4", nil},
	{"1.32.0", nil},
}

// TestManifests lets an API server judge all manifests. Nothing is stored.
func TestManifests(t *testing.T) {
	on := startCluster(t, "kube-manifests")
	on.apply(t, namespaces+`
---
{ apiVersion: v1, kind: Namespace, metadata: { name: envoy-gateway-system } }
`)
	on.applyDefinitions(t, tool("crds/gateway-api"), tool("crds/envoy-gateway"))
	for _, istio := range versions {
		definitions := tool("crds/istio-" + istio.version + ".yaml")
		t.Run("istio "+istio.version, func(t *testing.T) {
			on.applyDefinitions(t, definitions)
			for _, folder := range istioInstalls {
				if !slices.Contains(istio.lacking, folder) {
					t.Run(filepath.Base(folder), func(t *testing.T) { judgeAll(t, on, render(t, folder)) })
				}
			}
		})
		// The next version would keep the kinds that it lacks.
		on.kubectl(t, "", "delete", "-f", definitions)
	}
	t.Run("values of Istio's gateway", func(t *testing.T) { judgeAll(t, on, gatewayChart(t)) })
	t.Run("values of Istio's gateway with an image volume", func(t *testing.T) {
		chart := gatewayChart(t, "gateway-values-image-volume.yaml")
		if !strings.Contains(chart, "reference:") {
			t.Fatal(chart)
		}
		judgeAll(t, on, chart)
	})
	t.Run("values of Istio's gateway with an init container", func(t *testing.T) {
		chart := gatewayChart(t, "gateway-values-init-container.yaml")
		if !strings.Contains(chart, "crane export") || strings.Contains(chart, "reference:") {
			t.Fatal(chart)
		}
		judgeAll(t, on, chart)
	})
	t.Run("envoy-gateway", func(t *testing.T) { judgeAll(t, on, render(t, "envoy/envoy-gateway")) })
	t.Run("an unknown field is refused", func(t *testing.T) {
		misspelt := strings.Replace(render(t, "envoy/envoy-gateway"), "targetRef:", "targetReff:", 1)
		if complaints := on.judge(misspelt); !strings.Contains(complaints, "targetReff") {
			t.Fatalf("complaints: %q", complaints)
		}
	})
}

// judgeAll fails the test when the API server says anything about the manifests.
func judgeAll(t *testing.T, on *cluster, manifests string) {
	t.Helper()
	if objects(manifests) == 0 {
		t.Fatal("no objects")
	}
	if complaints := on.judge(manifests); complaints != "" {
		t.Fatal(complaints)
	}
}

// gatewayChart renders Istio's chart of a gateway with the shipped values, and those of more files of envoy/istio.
func gatewayChart(t testing.TB, more ...string) string {
	t.Helper()
	arguments := []string{"template", "istio-ingressgateway", tool("charts/gateway"), "-n", "istio-ingress"}
	for _, name := range append([]string{"gateway-values.yaml"}, more...) {
		arguments = append(arguments, "-f", filepath.Join(repository, "envoy/istio", name))
	}
	command := exec.Command(kubernetesTool("helm"), arguments...)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}
