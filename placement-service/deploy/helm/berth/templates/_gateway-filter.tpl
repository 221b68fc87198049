{{/* The filter's discovery response. Its version is a hash: every change is a new version. */}}
{{- define "berth.gateway.filter" -}}
{{- $text := .Values.gateway.filterConfig | default (.Files.Get "files/filter.yaml") -}}
{{- $file := include "berth.gateway.input" (list "gateway.filterConfig" $text) | fromJson -}}
{{- $cookie := dig "session" "cookie" dict (include "berth.config.json" . | fromJson) -}}
{{- if not $file.resources -}}
{{- fail "gateway.filterConfig: no `resources`: not a file such as envoy/filter.yaml" -}}
{{- end -}}
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
{{- fail "gateway.filterConfig: service: use secret_env; a secret has no place in a ConfigMap" -}}
{{- end -}}
{{- range $settings.tokens.keys -}}
{{- if hasKey . "secret" }}{{ fail "gateway.filterConfig: tokens.keys: use secret_env; a secret has no place in a ConfigMap" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $file "version_info" (toJson $file.resources | sha256sum | trunc 16) -}}
{{- toYaml $file -}}
{{- end }}
