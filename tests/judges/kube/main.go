// Command kube runs a Kubernetes API server with its etcd in one process, for tests: it stores and validates objects
// and admits them through webhooks. There are no nodes and no controllers, so nothing of what it stores runs.
//
//	kube FOLDER [FLAG...]
//
// Further flags are the API server's.
// It listens on a free port of the loopback interface. When it is ready, FOLDER/kubeconfig names that port and the
// token of an administrator. It ends on SIGINT or SIGTERM.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// readyTimeout is the longest start that is waited for; on a busy machine with two cores it is a few seconds.
const readyTimeout = 2 * time.Minute

const kubeconfig = `apiVersion: v1
kind: Config
current-context: kube
clusters: [{ name: kube, cluster: { server: %q, certificate-authority: %q } }]
users: [{ name: admin, user: { token: %q } }]
contexts: [{ name: kube, context: { cluster: kube, user: admin } }]
`

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: kube FOLDER [FLAG...]"))
	}
	folder, err := filepath.Abs(os.Args[1])
	if err != nil {
		fail(err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		fail(err)
	}
	etcd, err := startEtcd(folder)
	if err != nil {
		fail(err)
	}
	port, err := freePort()
	if err != nil {
		fail(err)
	}
	token, err := writeCredentials(folder)
	if err != nil {
		fail(err)
	}
	go announce(folder, port, token)
	server := app.NewAPIServerCommand()
	server.SetArgs(append([]string{
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--cert-dir=" + filepath.Join(folder, "certs"),
		"--etcd-servers=" + etcd,
		"--authorization-mode=RBAC",
		"--token-auth-file=" + filepath.Join(folder, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + filepath.Join(folder, "accounts.key"),
		"--service-account-signing-key-file=" + filepath.Join(folder, "accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		// No controller creates a service account for each namespace.
		"--disable-admission-plugins=ServiceAccount",
		// The server would publish its loopback address as an endpoint, which it refuses itself.
		"--endpoint-reconciler-type=none",
	}, os.Args[2:]...))
	os.Exit(cli.Run(server))
}

// startEtcd starts etcd in the folder and returns its address.
func startEtcd(folder string) (string, error) {
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	client, err := freeAddress()
	if err != nil {
		return "", err
	}
	peer, err := freeAddress()
	if err != nil {
		return "", err
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	// What is stored is lost with the machine, which is fine for a test and much faster.
	config.UnsafeNoFsync = true
	logger, err := zap.NewProduction(zap.IncreaseLevel(zap.WarnLevel))
	if err != nil {
		return "", err
	}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return client.String(), nil
	case err := <-etcd.Err():
		return "", err
	case <-time.After(readyTimeout):
		return "", errors.New("etcd is not ready")
	}
}

func freeAddress() (url.URL, error) {
	port, err := freePort()
	return url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}, err
}

// freePort returns a port of the loopback interface on which nobody listens at the moment.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// writeCredentials writes the key that signs the tokens of service accounts, and the administrator's token, which it
// returns.
func writeCredentials(folder string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(filepath.Join(folder, "accounts.key"), block, 0o600); err != nil {
		return "", err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	token := hex.EncodeToString(random)
	line := token + ",admin,admin,system:masters\n"
	return token, os.WriteFile(filepath.Join(folder, "tokens.csv"), []byte(line), 0o600)
}

// announce writes FOLDER/kubeconfig when the server is ready.
func announce(folder string, port int, token string) {
	address := fmt.Sprintf("https://127.0.0.1:%d", port)
	certificate := filepath.Join(folder, "certs", "apiserver.crt")
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for !ready(ctx, certificate, address, token) {
		select {
		case <-ctx.Done():
			fail(errors.New("the API server is not ready"))
		case <-time.After(100 * time.Millisecond):
		}
	}
	path := filepath.Join(folder, "kubeconfig")
	written := path + ".new"
	if err := os.WriteFile(written, fmt.Appendf(nil, kubeconfig, address, certificate, token), 0o600); err != nil {
		fail(err)
	}
	// Whoever waits for the file never sees half of it.
	if err := os.Rename(written, path); err != nil {
		fail(err)
	}
	fmt.Println("ready:", path)
}

func ready(ctx context.Context, certificate, address, token string) bool {
	pool := x509.NewCertPool()
	bytes, err := os.ReadFile(certificate)
	if err != nil || !pool.AppendCertsFromPEM(bytes) {
		return false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", nil)
	if err != nil {
		return false
	}
	request.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kube:", err)
	os.Exit(1)
}
