package judges

// A registry of images on the loopback interface, with the filter as `make images` builds it: one layer with plugin.wasm.

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
)

// pushFilter starts a registry with the built filter, and returns the image's address.
func pushFilter(t *testing.T) string {
	t.Helper()
	module, err := os.ReadFile(filterModule())
	if err != nil {
		t.Fatal(err)
	}
	image, err := crane.Image(map[string][]byte{"plugin.wasm": module})
	if err != nil {
		t.Fatal(err)
	}
	// The agent keeps modules there; its containers have the folder.
	if err := os.MkdirAll("/var/lib/istio/data", 0o755); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	name := strings.TrimPrefix(server.URL, "http://") + "/berth-filter:0.1.0"
	if err := crane.Push(image, name, crane.Insecure); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("oci://%s", name)
}
