{{/*
Envoy's bootstrap: the input, with the addresses, ports and paths of the release. Everything else, such as limits
and routes, is the input's.
*/}}

{{/* An input file as JSON: (list VALUE TEXT). */}}
{{- define "berth.gateway.input" -}}
{{- $parsed := index . 1 | fromYaml -}}
{{- with $parsed.Error }}{{ fail (printf "%s: not YAML: %s" (index $ 0) .) }}{{ end -}}
{{- toJson $parsed -}}
{{- end }}

{{- define "berth.gateway.envoy" -}}
{{- $text := .Values.gateway.envoyConfig | default (.Files.Get "files/envoy.yaml") -}}
{{- $envoy := include "berth.gateway.input" (list "gateway.envoyConfig" $text) | fromJson -}}
{{- $static := $envoy.static_resources | default dict -}}
{{- $manager := "envoy.filters.network.http_connection_manager" -}}
{{- if not (and $static.clusters (contains $manager (toJson $static.listeners))) -}}
{{- fail "gateway.envoyConfig: no listener or no clusters: not a file such as envoy/config.yaml" -}}
{{- end -}}
{{- $clusters := include "berth.gateway.clusters" (list . $static.clusters) | fromJson -}}
{{- $listener := include "berth.gateway.listener" (list . (first $static.listeners) $clusters.removed) | fromJson -}}
{{- $stats := include "berth.gateway.stats" . | fromYaml -}}
{{- $_ := set $static "clusters" (append $clusters.kept $stats.cluster) -}}
{{- $_ := set $static "listeners" (list $listener $stats.listener) -}}
{{- $_ := set $envoy "admin" (dict "address" (include "berth.gateway.address" (list "127.0.0.1" 9901) | fromJson)) -}}
{{- range dig "overload_manager" "resource_monitors" list $envoy -}}
{{- if eq .name "envoy.resource_monitors.fixed_heap" -}}
{{- $_ := set .typed_config "max_heap_size_bytes" (int64 $.Values.gateway.maxHeapBytes) -}}
{{- end -}}
{{- end -}}
{{- toYaml $envoy -}}
{{- end }}

{{/*
The clusters with the addresses of the release, and the names of those without an address: (list $ clusters). As JSON:
{kept: [...], removed: {NAME: true}}.
*/}}
{{- define "berth.gateway.clusters" -}}
{{- $root := index . 0 -}}
{{- $removed := dict -}}
{{- $kept := list -}}
{{- range index . 1 -}}
{{- $to := get $root.Values.gateway.applications .name -}}
{{- if has .name (list "placement" "pages") -}}
{{- $to = dict "host" (include "berth.host" $root) "port" 9455 -}}
{{- end -}}
{{- if $to -}}
{{- $endpoint := dict "endpoint" (dict "address" (include "berth.gateway.address" (list $to.host $to.port) | fromJson)) -}}
{{- $_ := set . "type" "STRICT_DNS" -}}
{{- $_ := set . "load_assignment" (dict "cluster_name" .name "endpoints" (list (dict "lb_endpoints" (list $endpoint)))) -}}
{{- end -}}
{{- if contains "127.0.0.1" (toJson (.load_assignment | default dict)) -}}
{{- $_ := set $removed .name true -}}
{{- else -}}
{{- $kept = append $kept . -}}
{{- end -}}
{{- end -}}
{{- dict "kept" $kept "removed" $removed | toJson -}}
{{- end }}

{{/* The listener of clients as JSON, without routes to removed clusters: (list $ listener removed). */}}
{{- define "berth.gateway.listener" -}}
{{- $root := index . 0 -}}
{{- $listener := index . 1 -}}
{{- $removed := index . 2 -}}
{{- $gateway := $root.Values.gateway -}}
{{- $chain := first $listener.filter_chains -}}
{{- $hcm := (first $chain.filters).typed_config -}}
{{- $_ := set $listener "address" (include "berth.gateway.address" (list "0.0.0.0" 8080) | fromJson) -}}
{{- if $gateway.tls.existingSecret -}}
{{- $_ := set $chain "transport_socket" (include "berth.gateway.tls" $root | fromYaml) -}}
{{- end -}}
{{- if $gateway.trustedProxies -}}
{{- $_ := set $hcm "xff_num_trusted_hops" (int $gateway.trustedProxies) -}}
{{- range $hcm.early_header_mutation_extensions -}}
{{- $kept := list -}}
{{- range .typed_config.mutations -}}
{{- if ne (dig "remove_on_match" "key_matcher" "prefix" "" .) "x-forwarded-" }}{{ $kept = append $kept . }}{{ end -}}
{{- end -}}
{{- $_ := set .typed_config "mutations" $kept -}}
{{- end -}}
{{- end -}}
{{- /* The filter's file is a ConfigMap, whose files are symbolic links: Envoy watches the folder. */ -}}
{{- $discovered := 0 -}}
{{- range $hcm.http_filters -}}
{{- if .config_discovery -}}
{{- $discovered = add1 $discovered -}}
{{- $watched := dict "path" "/etc/berth/filter/filter.yaml" "watched_directory" (dict "path" "/etc/berth/filter") -}}
{{- $_ := set .config_discovery.config_source "path_config_source" $watched -}}
{{- end -}}
{{- end -}}
{{- if ne (int $discovered) 1 -}}
{{- fail "gateway.envoyConfig: http_filters: exactly one filter with config_discovery, the Berth filter, is needed" -}}
{{- end -}}
{{- range $hcm.route_config.virtual_hosts -}}
{{- $routes := list (include "berth.gateway.ready" $root | fromYaml) -}}
{{- range .routes -}}
{{- if not (hasKey $removed (dig "route" "cluster" "" .)) }}{{ $routes = append $routes . }}{{ end -}}
{{- end -}}
{{- if $gateway.demoPage }}{{ $routes = append $routes (include "berth.gateway.demoPage" $root | fromYaml) }}{{ end -}}
{{- $_ := set . "routes" $routes -}}
{{- end -}}
{{- toJson $listener -}}
{{- end }}
