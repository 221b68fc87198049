package judges

// A client of the gateway: logs in, sends requests, opens WebSockets.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const host = "berth.example.com"

// client sends everything to one port of the loopback interface, whatever the host is.
type client struct {
	scheme string
	port   int
	roots  *x509.CertPool
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (c *client) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", c.port))
}

func (c *client) transport() *http.Transport {
	return &http.Transport{
		DialContext:       c.dial,
		TLSClientConfig:   &tls.Config{RootCAs: c.roots},
		ForceAttemptHTTP2: true,
	}
}

// try sends a request on a connection of its own and does not follow redirects.
func (c *client) try(method, path string, header http.Header, body io.Reader) (reply, error) {
	transport := c.transport()
	defer transport.CloseIdleConnections()
	sender := http.Client{
		Transport:     transport,
		Timeout:       15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequest(method, c.scheme+"://"+host+path, body)
	if err != nil {
		return reply{}, err
	}
	if header != nil {
		request.Header = header.Clone()
	}
	response, err := sender.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text)}, err
}

func (c *client) send(t testing.TB, method, path string, header http.Header, body io.Reader) reply {
	t.Helper()
	got, err := c.try(method, path, header, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// login returns headers with the cookie of the account demo.
func (c *client) login(t testing.TB) http.Header {
	t.Helper()
	form := url.Values{"username": {"demo"}, "password": {"demo-password"}}.Encode()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	got := c.send(t, http.MethodPost, "/login", header, strings.NewReader(form))
	for _, set := range got.header.Values("Set-Cookie") {
		if pair, _, _ := strings.Cut(set, ";"); strings.Contains(pair, "berth=") {
			return http.Header{"Cookie": {pair}}
		}
	}
	t.Fatalf("login: %d, no cookie: %v %s", got.status, got.header, got.body)
	return nil
}

// upgrade opens a WebSocket. When the gateway refuses it, the socket is nil.
func (c *client) upgrade(path string, header http.Header) (*websocket.Conn, reply, error) {
	dialer := websocket.Dialer{
		NetDialContext:   c.dial,
		TLSClientConfig:  &tls.Config{RootCAs: c.roots},
		HandshakeTimeout: 15 * time.Second,
	}
	scheme := strings.Replace(c.scheme, "http", "ws", 1)
	socket, response, err := dialer.Dial(scheme+"://"+host+path, header)
	if response == nil {
		return nil, reply{}, err
	}
	text, _ := io.ReadAll(response.Body)
	return socket, reply{response.StatusCode, response.Header, string(text)}, nil
}

// open opens a WebSocket and reads the engine's first message.
func (c *client) open(t testing.TB, path string, header http.Header) *websocket.Conn {
	t.Helper()
	socket, got, err := c.upgrade(path, header)
	if err != nil || socket == nil {
		t.Fatalf("%s: %v, %d %v %s", path, err, got.status, got.header, got.body)
	}
	t.Cleanup(func() { socket.Close() })
	if message := read(t, socket); !strings.Contains(message, "OnConnected") {
		t.Fatalf("%s: the first message is %s", path, message)
	}
	return socket
}

func read(t testing.TB, socket *websocket.Conn) string {
	t.Helper()
	socket.SetReadDeadline(time.Now().Add(15 * time.Second))
	_, message, err := socket.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

// call makes a QIX call on a socket, which shows that the engine still answers.
func call(t testing.TB, socket *websocket.Conn) {
	t.Helper()
	request := `{"jsonrpc":"2.0","id":7,"handle":-1,"method":"EngineVersion","params":[]}`
	if err := socket.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(read(t, socket), `"id":7`) {
	}
}

// certificate returns a certificate of the host, its key, and the roots with which clients trust it.
func certificate(t testing.TB) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate))
	return certificate, key, roots
}
