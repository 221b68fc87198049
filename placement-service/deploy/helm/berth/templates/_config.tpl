{{/* What the chart reads in the configuration of the service. `berth check` judges the file; the chart does not. */}}

{{- define "berth.config" -}}
{{ .Values.config | default (.Files.Get "files/berth.yaml") }}
{{- end }}

{{/* The configuration as JSON. */}}
{{- define "berth.config.json" -}}
{{- $config := include "berth.config" . | fromYaml -}}
{{- with $config.Error }}{{ fail (printf "config: not YAML: %s" .) }}{{ end -}}
{{- toJson $config -}}
{{- end }}

{{/* What the sources `kubernetes` read, as JSON: {all: bool, namespaces: {NAME: {pods: bool, endpointslices: bool}}}. `all`
means the pods of every namespace. */}}
{{- define "berth.discovery" -}}
{{- $config := include "berth.config.json" . | fromJson -}}
{{- $all := false -}}
{{- $namespaces := dict -}}
{{- range $config.pools -}}
{{- range ternary (list .discovery) .discovery (kindIs "map" .discovery) -}}
{{- if hasKey . "kubernetes" -}}
{{- $source := .kubernetes | default dict -}}
{{- if $source.kubeconfig -}}
{{- /* Another cluster, with the rights of that file. */ -}}
{{- else if $source.all_namespaces -}}
{{- $all = true -}}
{{- else -}}
{{- $name := $source.namespace | default $.Release.Namespace -}}
{{- $read := dict (ternary "pods" "endpointslices" (empty $source.service)) true -}}
{{- $_ := set $namespaces $name (merge $read (get $namespaces $name | default dict)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "all" $all "namespaces" $namespaces | toJson -}}
{{- end }}

{{/* The longest `drain_duration` of the pools, in whole seconds. */}}
{{- define "berth.drainSeconds" -}}
{{- $longest := 0 -}}
{{- range (include "berth.config.json" . | fromJson).pools -}}
{{- $text := .drain_duration | default "20s" -}}
{{- $number := regexFind "^[0-9]+" $text | int -}}
{{- $unit := get (dict "ms" 0 "s" 1 "m" 60 "h" 3600) (trimPrefix (toString $number) $text) -}}
{{- $longest = max $longest (mul $number $unit) -}}
{{- end -}}
{{- $longest -}}
{{- end }}
