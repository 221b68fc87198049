package judges

// The discovery of engines in Kubernetes, against a real API server: rights, pods that come and go, a watch that was cut
// for so long that its history is gone. There are no nodes: the tests write the status of the pods.

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const discoveryConfig = `
store: { kind: sqlite, path: %q }
log: { format: text }
tokens: { key: { inline: %s } }
api: { clients: [{ name: judge, secret: { inline: a-secret-of-the-judges-that-is-long-enough }, role: operator }] }
pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery: { kubernetes: { selector: qix-engine, namespace: engines, kubeconfig: %q } }
routes:
  - { path: "/app/{document}", pool: qix, open: { document: "{document}" } }
`

const discoveryAccount = `
{ apiVersion: v1, kind: Namespace, metadata: { name: engines } }
---
{ apiVersion: v1, kind: ServiceAccount, metadata: { name: berth, namespace: engines } }
`

// discoveryRights is what the chart grants.
const discoveryRights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: berth-engines, namespace: engines }
rules: [{ apiGroups: [""], resources: [pods], verbs: [list, watch] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: berth-engines, namespace: engines }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: berth-engines }
subjects: [{ kind: ServiceAccount, name: berth, namespace: engines }]
`

// compaction is how often the API server removes the history of its objects: what is older than one interval.
const compaction = time.Second

func TestDiscovery(t *testing.T) {
	// Without its cache, the API server reads the history of objects in etcd, where the compaction removes it.
	on := startCluster(t, "kube-discovery", "--watch-cache=false", "--etcd-compaction-interval="+compaction.String())
	on.apply(t, discoveryAccount)
	server := regexp.MustCompile(`https://(127\.0\.0\.1:\d+)`)
	administrator, err := os.ReadFile(on.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	link := startLink(t, server.FindStringSubmatch(string(administrator))[1])
	service := startDiscovery(t, on, link, string(administrator), server)

	t.Run("without the right to list pods the service says so", func(t *testing.T) {
		on.addPod(t, "engine-a", "10.1.0.1")
		service.process.waitForLine(t, startTimeout, "403")
		service.expect(t)
	})
	t.Run("with the chart's rights it finds them", func(t *testing.T) {
		on.apply(t, discoveryRights)
		service.expect(t, "engine-a 10.1.0.1:9076 -")
	})
	t.Run("pods come and go", func(t *testing.T) {
		on.addPod(t, "engine-b", "10.1.0.2")
		on.addPod(t, "engine-c", "10.1.0.3")
		service.expect(t, "engine-a 10.1.0.1:9076 -", "engine-b 10.1.0.2:9076 -", "engine-c 10.1.0.3:9076 -")
		on.removePod(t, "engine-b")
		service.expect(t, "engine-a 10.1.0.1:9076 -", "engine-c 10.1.0.3:9076 -")
	})
	t.Run("a pod that terminates is drained", func(t *testing.T) {
		on.kubectl(t, "", "delete", "pod", "engine-c", "-n", "engines", "--wait=false")
		service.expect(t, "engine-a 10.1.0.1:9076 -", "engine-c 10.1.0.3:9076 draining")
		on.removePod(t, "engine-c")
		service.expect(t, "engine-a 10.1.0.1:9076 -")
	})
	t.Run("a pod without an address, of another kind or of another namespace is no engine", func(t *testing.T) {
		on.kubectl(t, pod("engine-d", "engines", "qix-engine"), "apply", "-f", "-")
		on.kubectl(t, pod("other", "engines", "other"), "apply", "-f", "-")
		on.kubectl(t, pod("engine-e", "default", "qix-engine"), "apply", "-f", "-")
		on.setStatus(t, "other", "engines", "10.1.0.8")
		on.setStatus(t, "engine-e", "default", "10.1.0.9")
		// The service has seen the others when it has seen a later one.
		on.addPod(t, "engine-f", "10.1.0.6")
		service.expect(t, "engine-a 10.1.0.1:9076 -", "engine-f 10.1.0.6:9076 -")
	})
	// A watch that went on from its revision would be refused with 410 Gone.
	t.Run("after a cut, during which the history went, the pods are listed again", func(t *testing.T) {
		link.cut()
		on.removePod(t, "engine-a")
		on.addPod(t, "engine-g", "10.1.0.7")
		// The revision that the watch knows is compacted one interval after the next.
		time.Sleep(4 * compaction)
		service.expect(t, "engine-a 10.1.0.1:9076 -", "engine-f 10.1.0.6:9076 -")
		link.mend()
		service.expect(t, "engine-f 10.1.0.6:9076 -", "engine-g 10.1.0.7:9076 -")
	})
}

// link forwards connections to an address, and can be cut.
type link struct {
	listener net.Listener
	mutex    sync.Mutex
	isCut    bool
	open     []net.Conn
}

func startLink(t testing.TB, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	started := &link{listener: listener}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			started.forward(connection, to)
		}
	}()
	return started
}

func (l *link) forward(from net.Conn, address string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	to, err := net.Dial("tcp", address)
	if err != nil || l.isCut {
		from.Close()
		return
	}
	l.open = append(l.open, from, to)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			io.Copy(pair[0], pair[1])
			pair[0].Close()
			pair[1].Close()
		}()
	}
}

// cut ends all connections. New ones are closed at once.
func (l *link) cut() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isCut = true
	for _, connection := range l.open {
		connection.Close()
	}
	l.open = nil
}

func (l *link) mend() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isCut = false
}

// discovering is a placement service that discovers pods.
type discovering struct {
	process         *process
	config, address string
}

// startDiscovery starts a service as its service account, with its connections to the API server through the link.
func startDiscovery(t testing.TB, on *cluster, through *link, administrator string, server *regexp.Regexp) *discovering {
	t.Helper()
	folder := t.TempDir()
	kubeconfig := filepath.Join(folder, "kubeconfig")
	text := server.ReplaceAllString(administrator, "https://"+through.listener.Addr().String())
	token := strings.TrimSpace(on.token(t, "engines", "berth"))
	write(t, kubeconfig, regexp.MustCompile(`token: "[^"]*"`).ReplaceAllString(text, fmt.Sprintf("token: %q", token)))
	config := filepath.Join(folder, "berth.yaml")
	write(t, config, fmt.Sprintf(discoveryConfig, filepath.Join(folder, "berth.db"), tokenKey, kubeconfig))
	started := start(t, "berth-discovery", folder, nil, binary("berth"), "serve", "--config", config, "--listen", "127.0.0.1:0")
	line := started.waitForLine(t, startTimeout, "listening ")
	found := regexp.MustCompile(`http=(127\.0\.0\.1:\d+)`).FindStringSubmatch(line)
	return &discovering{started, config, "http://" + found[1]}
}

// expect waits until the service has exactly these engines: name, address, and `draining` or `-`.
func (d *discovering) expect(t testing.TB, engines ...string) {
	t.Helper()
	d.process.waitFor(t, time.Minute, func() error {
		output, err := exec.Command(binary("berth"), "engines", "ls", "--no-headers", "--config", d.config, "--service", d.address).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		var listed []string
		for line := range strings.Lines(string(output)) {
			fields := strings.Fields(line)
			listed = append(listed, fields[1]+" "+fields[2]+" "+fields[4])
		}
		slices.Sort(listed)
		if !slices.Equal(listed, engines) {
			return fmt.Errorf("engines: %q", listed)
		}
		return nil
	})
}

// pod is a pod of a node, so that the API server waits for a kubelet before it removes it.
func pod(name, namespace, label string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: { name: %s, namespace: %s, labels: { %s: "" } }
spec:
  nodeName: node
  containers: [{ name: engine, image: engine }]
`, name, namespace, label)
}

// addPod adds an engine's pod that runs and is ready.
func (c *cluster) addPod(t testing.TB, name, address string) {
	t.Helper()
	c.kubectl(t, pod(name, "engines", "qix-engine"), "apply", "-f", "-")
	c.setStatus(t, name, "engines", address)
}

func (c *cluster) setStatus(t testing.TB, name, namespace, address string) {
	t.Helper()
	status := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%[1]q,"podIPs":[{"ip":%[1]q}],"conditions":[{"type":"Ready","status":"True"}]}}`, address)
	c.kubectl(t, "", "patch", "pod", name, "-n", namespace, "--subresource=status", "-p", status)
}

// removePod removes a pod as its kubelet does when the pod has ended.
func (c *cluster) removePod(t testing.TB, name string) {
	t.Helper()
	c.kubectl(t, "", "delete", "pod", name, "-n", "engines", "--force", "--grace-period=0")
}
