package judges

// The install of envoy/envoy-gateway, on Envoy Gateway itself: without Kubernetes, from files, with Envoy as a process.

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const standalone = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: { controllerName: gateway.envoyproxy.io/gatewayclass-controller }
provider:
  type: Custom
  custom:
    resource: { type: File, file: { paths: [%[1]q] } }
    infrastructure:
      type: Host
      host: { configHome: %[2]q, dataHome: %[2]q, stateHome: %[2]q, runtimeDir: %[2]q }
extensionApis: { enableEnvoyPatchPolicy: true }
`

const tlsSecret = `---
{ apiVersion: v1, kind: Namespace, metadata: { name: envoy-gateway-system } }
---
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: { name: berth-tls, namespace: envoy-gateway-system }
data: { tls.crt: %s, tls.key: %s }
`

// hostProvider replaces the part of EnvoyProxy that describes pods.
const hostProvider = `  provider:
    type: Host
    host: { envoyVersion: %s }
`

func TestEnvoyGateway(t *testing.T) {
	lab := startBerth(t)
	client := startEnvoyGateway(t, lab)
	t.Run("login, application and WebSocket", func(t *testing.T) { checkHappyPath(t, lab, client) })
	t.Run("forged headers have no effect", func(t *testing.T) { checkForgedHeaders(t, lab, client) })
	t.Run("refusals", func(t *testing.T) { checkRefusals(t, lab, client) })
	t.Run("a WebSocket upgrade does not reach the service", func(t *testing.T) {
		socket, got, err := client.upgrade("/session", client.login(t))
		if err != nil || socket != nil || got.status != http.StatusForbidden {
			t.Fatalf("%v %d %v", err, got.status, got.header)
		}
	})
}

// startEnvoyGateway installs the manifests, adapted to this machine, and waits until the gateway answers.
func startEnvoyGateway(t *testing.T, lab *berth) *client {
	t.Helper()
	folder := t.TempDir()
	version, err := os.ReadFile(filepath.Join(repository, ".envoy-version"))
	if err != nil {
		t.Fatal(err)
	}
	envoy := filepath.Join(folder, "home/versions", strings.TrimSpace(string(version)), "bin/envoy")
	// Envoy Gateway would download it. Its library func-e looks here when all four homes are the same folder.
	write(t, envoy, fmt.Sprintf("#!/bin/sh\nexec %s --disable-hot-restart \"$@\"\n", envoyBinary()))
	if err := os.Chmod(envoy, 0o755); err != nil {
		t.Fatal(err)
	}
	filter, err := os.ReadFile(filepath.Join(repository, "envoy/envoy-gateway/filter.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	filterFile := filepath.Join(folder, "filter/filter.yaml")
	write(t, filterFile, strings.ReplaceAll(string(filter), "/var/lib/berth/plugin.wasm", filterModule()))
	certificate, key, roots := certificate(t)
	encode := base64.StdEncoding.EncodeToString
	secret := fmt.Sprintf(tlsSecret, encode([]byte(certificate)), encode([]byte(key)))
	port := freePorts(t, 1)[0]
	manifests := render(t, "envoy/envoy-gateway")
	for _, change := range [][2]string{
		{`(?s)  provider:\n    kubernetes:.*?    type: Kubernetes\n`, fmt.Sprintf(hostProvider, strings.TrimSpace(string(version)))},
		{`port: 443\b`, fmt.Sprintf("port: %d", port)},
		{`address: berth\.berth\.svc\.cluster\.local\n(\s+)port_value: 9455`, fmt.Sprintf("address: 127.0.0.1\n${1}port_value: %d", lab.service)},
		{`address: app\.berth\.svc\.cluster\.local\n(\s+)port_value: 80`, fmt.Sprintf("address: 127.0.0.1\n${1}port_value: %d", lab.app.port)},
		{`/etc/berth/filter\.yaml`, filterFile},
		{`path: /etc/berth\b`, "path: " + filepath.Dir(filterFile)},
	} {
		changed := regexp.MustCompile(change[0]).ReplaceAllString(manifests, change[1])
		if changed == manifests {
			t.Fatalf("the manifests do not contain %s", change[0])
		}
		manifests = changed
	}
	write(t, filepath.Join(folder, "resources/berth.yaml"), manifests+secret)
	config := filepath.Join(folder, "envoy-gateway.yaml")
	home := filepath.Join(folder, "home")
	write(t, config, fmt.Sprintf(standalone, filepath.Join(folder, "resources"), home))
	certificates := exec.Command(tool("envoy-gateway"), "certgen", "--local", "--config-home", home)
	if output, err := certificates.CombinedOutput(); err != nil {
		t.Fatalf("certgen: %v\n%s", err, output)
	}
	gateway := start(t, "envoy-gateway", folder, []string{"BERTH_TOKEN_KEY=" + tokenKey}, tool("envoy-gateway"), "server", "--config-path", config)
	client := &client{scheme: "https", port: port, roots: roots}
	gateway.waitFor(t, startTimeout, func() error {
		got, err := client.try(http.MethodGet, "/session", nil, nil)
		if err == nil && got.status != http.StatusOK {
			err = fmt.Errorf("/session: %d %s", got.status, got.body)
		}
		return err
	})
	return client
}
