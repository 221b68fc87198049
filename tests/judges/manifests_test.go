package judges

// Every shipped manifest is accepted by a strict API server, with the definitions of each supported version of Istio.

import (
	"fmt"
	"os"
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
{ apiVersion: v1, kind: Namespace, metadata: { name: engines } }
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
	for _, path := range plainManifests(t, "envoy/envoy-gateway", "placement-service/deploy") {
		t.Run(path, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(repository, path))
			if err != nil {
				t.Fatal(err)
			}
			judgeAll(t, on, string(text))
		})
	}
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

// gatewayChart renders Istio's chart of a gateway with the shipped values.
func gatewayChart(t testing.TB) string {
	t.Helper()
	values := filepath.Join(repository, "envoy/istio/gateway-values.yaml")
	command := exec.Command(tool("helm"), "template", "istio-ingressgateway", tool("charts/gateway"), "-n", "istio-ingress", "-f", values)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return string(output)
}

// plainManifests are the YAML files below folders that contain objects, except the inputs of a chart and kustomizations.
func plainManifests(t *testing.T, folders ...string) []string {
	t.Helper()
	var found []string
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(repository, folder), func(path string, entry os.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && isChart(path):
				return filepath.SkipDir
			case entry.IsDir() || filepath.Ext(path) != ".yaml":
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if strings.Contains(string(text), "\nkind: ") && !strings.Contains(string(text), "\nkind: Kustomization") {
				relative, err := filepath.Rel(repository, path)
				if err != nil {
					return err
				}
				found = append(found, relative)
			}
			return nil
		})
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", folder, err))
		}
	}
	return found
}

func isChart(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "Chart.yaml"))
	return err == nil
}
