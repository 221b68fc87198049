package judges

// A Kubernetes API server, and kubectl with its credentials.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const startTimeout = 2 * time.Minute

type cluster struct{ kubeconfig string }

// startCluster starts an API server without any object, with further flags.
func startCluster(t testing.TB, name string, flags ...string) *cluster {
	t.Helper()
	folder := t.TempDir()
	kube := start(t, name, folder, nil, tool("kube"), append([]string{folder}, flags...)...)
	kube.waitForLine(t, startTimeout, "ready: ")
	return &cluster{filepath.Join(folder, "kubeconfig")}
}

// try runs kubectl with an input, and returns its output and its errors and warnings.
func (c *cluster) try(input string, args ...string) (output, complaints string, err error) {
	command := exec.Command(kubernetesTool("kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	return stdout.String(), stderr.String(), err
}

// kubectl is like try; the test fails when kubectl does.
func (c *cluster) kubectl(t testing.TB, input string, args ...string) string {
	t.Helper()
	output, complaints, err := c.try(input, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, complaints)
	}
	return output
}

func (c *cluster) apply(t testing.TB, manifests string) {
	t.Helper()
	c.kubectl(t, manifests, "apply", "-f", "-")
}

// judge lets the API server validate manifests strictly, without storing them, and returns what it complains about.
func (c *cluster) judge(manifests string) string {
	_, complaints, err := c.try(manifests, "apply", "--validate=strict", "--dry-run=server", "-f", "-")
	if err != nil && complaints == "" {
		return err.Error()
	}
	return complaints
}

// applyDefinitions installs files of custom resource definitions, and waits until the API server knows their kinds.
func (c *cluster) applyDefinitions(t testing.TB, files ...string) {
	t.Helper()
	for _, file := range files {
		c.kubectl(t, "", "apply", "--server-side", "--force-conflicts", "-f", file)
	}
	c.kubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
}

// token returns a token of a service account, as the kubelet mounts it. The audience is that of the API server if none
// is given.
func (c *cluster) token(t testing.TB, namespace, account string, audience ...string) string {
	t.Helper()
	arguments := []string{"create", "token", account, "-n", namespace, "--duration=24h"}
	for _, name := range audience {
		arguments = append(arguments, "--audience="+name)
	}
	return c.kubectl(t, "", arguments...)
}

// render builds a kustomization of the repository.
func render(t testing.TB, folder string) string {
	t.Helper()
	command := exec.Command(kubernetesTool("kubectl"), "kustomize", filepath.Join(repository, folder))
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", folder, err, output)
	}
	return string(output)
}

func objects(manifests string) int { return strings.Count("\n"+manifests, "\nkind: ") }

// without removes the objects of a kind.
func without(manifests, kind string) string {
	var kept []string
	for _, object := range strings.Split(manifests, "\n---\n") {
		if !strings.Contains("\n"+object+"\n", fmt.Sprintf("\nkind: %s\n", kind)) {
			kept = append(kept, object)
		}
	}
	return strings.Join(kept, "\n---\n")
}
