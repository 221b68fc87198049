package judges

// The manifests say what envoy/config.yaml and envoy/filter.yaml say: the same routes, limits and capabilities.

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The names of the clusters in each file.
var clusterNames = strings.NewReplacer(
	"outbound|9455|pages|berth.berth.svc.cluster.local", "pages",
	"outbound|9455|placement|berth.berth.svc.cluster.local", "placement",
	"outbound|80||app.berth.svc.cluster.local", "app",
)

// TestConsistency needs no process.
func TestConsistency(t *testing.T) {
	config := objectsOf(t, file(t, "envoy/config.yaml"))[0]
	manager := at(config, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config")
	filter := at(objectsOf(t, file(t, "envoy/filter.yaml"))[0], "resources", 0, "typed_config", "config")
	for _, folder := range append(istioInstalls, "envoy/envoy-gateway") {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			install := readInstall(t, folder)
			compare(t, "routes", routes(install.routes), routes(at(manager, "route_config", "virtual_hosts", 0, "routes")))
			for _, setting := range []string{"path_with_escaped_slashes_action", "max_request_headers_kb", "common_http_protocol_options",
				"http2_protocol_options", "request_headers_timeout", "request_timeout", "stream_idle_timeout", "delayed_close_timeout",
				"early_header_mutation_extensions", "merge_slashes", "normalize_path", "server_name"} {
				compare(t, setting, at(install.manager, setting), at(manager, setting))
			}
			format := []any{"access_log", 0, "typed_config", "log_format"}
			compare(t, "access log", at(install.manager, format...), at(manager, format...))
			compare(t, "watchdog", at(install.bootstrap, "watchdogs"), at(config, "watchdogs"))
			compare(t, "tags of statistics", at(install.bootstrap, "stats_config", "stats_tags"), at(config, "stats_config", "stats_tags"))
			compare(t, "routes of the filter", at(install.settings, "routes"), withoutDemonstration(at(filter, "configuration", "value", "routes")))
			if install.capabilities != nil {
				compare(t, "capabilities", install.capabilities, at(filter, "vm_config", "capability_restriction_config"))
			}
		})
	}
}

// install is what an install says, wherever it says it.
type install struct {
	manager, bootstrap, routes, settings, capabilities any
}

func readInstall(t *testing.T, folder string) install {
	t.Helper()
	found := install{manager: tree{}}
	for _, object := range objectsOf(t, render(t, folder)) {
		spec := at(object, "spec")
		if text, ok := at(object, "data", "custom_bootstrap.json").(string); ok {
			found.bootstrap = objectsOf(t, text)[0]
		}
		if text, ok := at(object, "data", "filter.yaml").(string); ok {
			found.readFilter(at(objectsOf(t, text)[0], "resources", 0, "typed_config", "config"))
		}
		if text, ok := at(spec, "bootstrap", "value").(string); ok {
			found.bootstrap = objectsOf(t, text)[0]
		}
		for _, settings := range []any{at(spec, "pluginConfig"), at(spec, "wasm", "pluginConfig")} {
			if settings != nil {
				found.settings = settings
			}
		}
		for _, patch := range list(at(spec, "configPatches")) {
			value := at(patch, "patch", "value")
			switch at(patch, "applyTo") {
			case "NETWORK_FILTER":
				found.manager = at(value, "typed_config")
			case "VIRTUAL_HOST":
				found.routes = at(value, "routes")
			case "EXTENSION_CONFIG":
				found.readFilter(at(value, "typed_config", "config"))
			}
		}
		for _, patch := range list(at(spec, "jsonPatches")) {
			path, _ := at(patch, "operation", "path").(string)
			value := at(patch, "operation", "value")
			if setting, ok := strings.CutPrefix(path, "/filter_chains/0/filters/0/typed_config/"); ok {
				found.manager.(tree)[setting] = value
			}
			if strings.HasSuffix(path, "/routes") {
				found.routes = value
			}
		}
	}
	return found
}

func (i *install) readFilter(config any) {
	i.settings = at(config, "configuration", "value")
	i.capabilities = at(config, "capability_restriction_config")
	if i.capabilities == nil {
		i.capabilities = at(config, "vm_config", "capability_restriction_config")
	}
}

// routes returns path, target and limits of each route, without the demonstration's page and the closing route.
func routes(value any) []any {
	var found []any
	for _, route := range list(value) {
		if at(route, "match", "path") == "/" || at(route, "direct_response") != nil {
			continue
		}
		cluster, _ := at(route, "route", "cluster").(string)
		found = append(found, []any{
			at(route, "match", "path"), at(route, "match", "prefix"), clusterNames.Replace(cluster), at(route, "route", "cluster_header"),
			at(route, "route", "timeout"), at(route, "route", "idle_timeout"), at(route, "route", "max_stream_duration"),
			at(route, "typed_per_filter_config"),
		})
	}
	return found
}

func withoutDemonstration(value any) any {
	var found []any
	for _, route := range list(value) {
		if at(route, "path") != "/" {
			found = append(found, route)
		}
	}
	return found
}

func compare(t *testing.T, what string, got, wanted any) {
	t.Helper()
	if wanted == nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("%s: %v\nenvoy/: %v", what, got, wanted)
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func objectsOf(t *testing.T, text string) []any {
	t.Helper()
	var all []any
	for _, document := range strings.Split(text, "\n---\n") {
		var parsed any
		if err := yaml.Unmarshal([]byte(document), &parsed); err != nil {
			t.Fatal(err)
		}
		all = append(all, parsed)
	}
	return all
}

// tree is an object of a parsed file.
type tree = map[string]any

// at follows names and indexes, and returns nil when there is nothing.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := value.(tree)
			value = fields[step]
		case int:
			items := list(value)
			if step >= len(items) {
				return nil
			}
			value = items[step]
		}
	}
	return value
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}
