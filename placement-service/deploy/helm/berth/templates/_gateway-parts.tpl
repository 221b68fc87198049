{{/* What the chart adds to the files of the gateway. */}}

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
