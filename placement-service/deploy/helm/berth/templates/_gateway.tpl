{{/*
The files of the gateway: the inputs, with the addresses, ports, paths and secrets of the release. Everything else, such
as limits and routes, is the input's.
*/}}

{{- define "berth.gateway.input" -}}
{{- $parsed := index . 1 | fromYaml -}}
{{- with $parsed.Error }}{{ fail (printf "%s: not YAML: %s" (index $ 0) .) }}{{ end -}}
{{- toJson $parsed -}}
{{- end }}

{{/* Envoy's bootstrap. */}}
{{- define "berth.gateway.envoy" -}}
{{- $text := .Values.gateway.envoyConfig | default (.Files.Get "files/envoy.yaml") -}}
{{- $envoy := include "berth.gateway.input" (list "gateway.envoyConfig" $text) | fromJson -}}
{{- $static := $envoy.static_resources -}}
{{- $listener := first $static.listeners -}}
{{- $chain := first $listener.filter_chains -}}
{{- $hcm := (first $chain.filters).typed_config -}}
{{- $_ := set $envoy "admin" (dict "address" (include "berth.gateway.address" (list "127.0.0.1" 9901) | fromJson)) -}}
{{- $_ := set $listener "address" (include "berth.gateway.address" (list "0.0.0.0" 8080) | fromJson) -}}
{{- range $envoy.overload_manager.resource_monitors -}}
{{- if eq .name "envoy.resource_monitors.fixed_heap" -}}
{{- $_ := set .typed_config "max_heap_size_bytes" (int64 $.Values.gateway.maxHeapBytes) -}}
{{- end -}}
{{- end -}}
{{- /* The filter's file is a ConfigMap: Envoy follows its symbolic links. */ -}}
{{- range $hcm.http_filters -}}
{{- if .config_discovery -}}
{{- $watched := dict "path" "/etc/berth/filter/filter.yaml" "watched_directory" (dict "path" "/etc/berth/filter") -}}
{{- $_ := set .config_discovery.config_source "path_config_source" $watched -}}
{{- end -}}
{{- end -}}
{{- if .Values.gateway.trustedProxies -}}
{{- $_ := set $hcm "xff_num_trusted_hops" (int .Values.gateway.trustedProxies) -}}
{{- range $hcm.early_header_mutation_extensions -}}
{{- $kept := list -}}
{{- range .typed_config.mutations -}}
{{- if ne (dig "remove_on_match" "key_matcher" "prefix" "" .) "x-forwarded-" }}{{ $kept = append $kept . }}{{ end -}}
{{- end -}}
{{- $_ := set .typed_config "mutations" $kept -}}
{{- end -}}
{{- end -}}
{{- if .Values.gateway.tls.existingSecret -}}
{{- $_ := set $chain "transport_socket" (include "berth.gateway.tls" . | fromYaml) -}}
{{- end -}}
{{- /* Clusters of applications without an address are removed, with their routes. */ -}}
{{- $removed := dict -}}
{{- $clusters := list -}}
{{- range $static.clusters -}}
{{- $to := get $.Values.gateway.applications .name -}}
{{- if has .name (list "placement" "pages") -}}
{{- $to = dict "host" (include "berth.host" $) "port" 9455 -}}
{{- end -}}
{{- if $to -}}
{{- $endpoint := dict "endpoint" (dict "address" (include "berth.gateway.address" (list $to.host $to.port) | fromJson)) -}}
{{- $_ := set . "type" "STRICT_DNS" -}}
{{- $_ := set . "load_assignment" (dict "cluster_name" .name "endpoints" (list (dict "lb_endpoints" (list $endpoint)))) -}}
{{- else if contains "127.0.0.1" (toJson (.load_assignment | default dict)) -}}
{{- $_ := set $removed .name true -}}
{{- end -}}
{{- if eq .name "placement" -}}
{{- $options := get .typed_extension_protocol_options "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" -}}
{{- $_ := set $options "http_filters" (include "berth.gateway.credential" $ | fromYamlArray) -}}
{{- end -}}
{{- if not (hasKey $removed .name) }}{{ $clusters = append $clusters . }}{{ end -}}
{{- end -}}
{{- range $hcm.route_config.virtual_hosts -}}
{{- $routes := list (include "berth.gateway.ready" $ | fromYaml) -}}
{{- range .routes -}}
{{- if not (hasKey $removed (dig "route" "cluster" "" .)) }}{{ $routes = append $routes . }}{{ end -}}
{{- end -}}
{{- if $.Values.gateway.demoPage }}{{ $routes = append $routes (include "berth.gateway.demoPage" $ | fromYaml) }}{{ end -}}
{{- $_ := set . "routes" $routes -}}
{{- end -}}
{{- $stats := include "berth.gateway.stats" . | fromYaml -}}
{{- $_ := set $static "clusters" (append $clusters $stats.cluster) -}}
{{- $_ := set $static "listeners" (append $static.listeners $stats.listener) -}}
{{- $_ := set $static "secrets" (include "berth.gateway.secrets" . | fromYamlArray) -}}
{{- toYaml $envoy -}}
{{- end }}

{{/* The filter's discovery response. Its version is a hash: every change is a new version. */}}
{{- define "berth.gateway.filter" -}}
{{- $text := .Values.gateway.filterConfig | default (.Files.Get "files/filter.yaml") -}}
{{- $file := include "berth.gateway.input" (list "gateway.filterConfig" $text) | fromJson -}}
{{- $cookie := dig "session" "cookie" dict (include "berth.config.json" . | fromJson) -}}
{{- range $file.resources -}}
{{- $vm := .typed_config.config.vm_config -}}
{{- $settings := .typed_config.config.configuration.value -}}
{{- $_ := set $vm "code" (dict "local" (dict "filename" "/opt/berth/plugin.wasm")) -}}
{{- $_ := set $settings "routes" (prepend $settings.routes (dict "path" "/berth-ready" "action" "bypass")) -}}
{{- if $.Values.gateway.demoPage -}}
{{- $_ := set $settings "routes" (append $settings.routes (dict "path" "/" "action" "bypass")) -}}
{{- end -}}
{{- /* The login cookie has the same name on both sides. */ -}}
{{- if $cookie.name -}}
{{- $_ := set $settings "cookie" $cookie.name -}}
{{- else if eq (toString $cookie.secure) "false" -}}
{{- $_ := set $settings "cookie" "berth" -}}
{{- end -}}
{{- if hasKey ($settings.service | default dict) "secret" -}}
{{- fail "gateway.filterConfig: service.secret: Envoy adds the secret of existingSecret; a secret has no place in a ConfigMap" -}}
{{- end -}}
{{- range $settings.tokens.keys -}}
{{- if hasKey . "secret" }}{{ fail "gateway.filterConfig: tokens.keys: use secret_env; a secret has no place in a ConfigMap" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $file "version_info" (toJson $file.resources | sha256sum | trunc 16) -}}
{{- toYaml $file -}}
{{- end }}

{{- define "berth.gateway.address" -}}
{{- dict "socket_address" (dict "address" (index . 0) "port_value" (int (index . 1))) | toJson -}}
{{- end }}

{{/* The kubelet's probe: answered by Envoy itself, but only while the filter has a configuration. */}}
{{- define "berth.gateway.ready" -}}
match: { path: /berth-ready }
direct_response: { status: 200, body: { inline_string: "ready\n" } }
{{- end }}

{{- define "berth.gateway.demoPage" -}}
match: { path: / }
route: { cluster: pages, timeout: 15s }
typed_per_filter_config:
  envoy.filters.http.buffer:
    "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute
    buffer: { max_request_bytes: 65536 }
{{- end }}

{{/* Metrics and liveness, without the rest of the admin port. */}}
{{- define "berth.gateway.stats" -}}
listener:
  name: stats
  address: { socket_address: { address: 0.0.0.0, port_value: 9902 } }
  filter_chains:
    - filters:
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: stats
            route_config:
              virtual_hosts:
                - name: stats
                  domains: ["*"]
                  routes:
                    - match: { path: /stats/prometheus }
                      route: { cluster: admin }
                    - match: { path: /ready }
                      route: { cluster: admin }
            http_filters:
              - name: envoy.filters.http.router
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
cluster:
  name: admin
  type: STATIC
  connect_timeout: 1s
  load_assignment:
    cluster_name: admin
    endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } } }] }]
{{- end }}

{{/* Adds the gateway secret to the filter's calls: it is neither in the filter's file nor in /config_dump. */}}
{{- define "berth.gateway.credential" -}}
- name: envoy.filters.http.credential_injector
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    overwrite: true
    credential:
      name: envoy.http.injected_credentials.generic
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
        credential: { name: gateway-secret }
        header_value_prefix: "Bearer "
- name: envoy.filters.http.upstream_codec
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
{{- end }}

{{- define "berth.gateway.secrets" -}}
- name: gateway-secret
  generic_secret: { secret: { environment_variable: BERTH_GATEWAY_SECRET } }
{{- end }}

{{/* TLS of the listener. The certificate comes by discovery from a file, so that Envoy notices its renewal. */}}
{{- define "berth.gateway.tls" -}}
name: envoy.transport_sockets.tls
typed_config:
  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
  common_tls_context:
    alpn_protocols: [h2, http/1.1]
    tls_params: { tls_minimum_protocol_version: TLSv1_2 }
    tls_certificate_sds_secret_configs:
      - name: listener
        sds_config:
          resource_api_version: V3
          path_config_source: { path: /etc/berth/envoy/certificate.yaml }
{{- end }}

{{- define "berth.gateway.certificate" -}}
resources:
  - "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: listener
    tls_certificate:
      certificate_chain: { filename: /etc/berth/tls/tls.crt }
      private_key: { filename: /etc/berth/tls/tls.key }
      watched_directory: { path: /etc/berth/tls }
{{- end }}

{{/*
Before a gateway ends: POST /v1/gateways/NODE/drain, then as long as the drain takes. By bash, because Envoy's image has
no HTTP client. If the service does not answer, the sockets live until the end of the wait.
*/}}
{{- define "berth.gateway.drain" -}}
{{- $seconds := .Values.gateway.drain.seconds -}}
if exec 3<>/dev/tcp/{{ include "berth.host" . }}/9455; then
  printf 'POST /v1/gateways/%s/drain?over={{ $seconds }}s&refuse=true HTTP/1.1\r\nHost: berth\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$POD_NAME" "$BERTH_OPS_SECRET" >&3
  read -r -t 5 answer <&3
fi
sleep {{ add $seconds 10 }}
{{- end }}
