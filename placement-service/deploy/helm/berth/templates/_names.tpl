{{/* Names, labels and images. */}}

{{- define "berth.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "berth.gateway.fullname" -}}{{ include "berth.fullname" . }}-gateway{{- end }}

{{- define "berth.serviceAccount" -}}
{{- .Values.service.serviceAccount.name | default (include "berth.fullname" .) -}}
{{- end }}

{{/* The DNS name of the placement service. */}}
{{- define "berth.host" -}}
{{ include "berth.fullname" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{/* Labels of a selector: (list $ component). */}}
{{- define "berth.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/*
The metadata of an object: (list $ component name), and optionally a dict with `namespace`, further `labels` and further
`annotations`.
*/}}
{{- define "berth.metadata" -}}
{{- $root := index . 0 -}}
{{- $more := dict -}}
{{- if gt (len .) 3 }}{{ $more = index . 3 }}{{ end -}}
name: {{ index . 2 }}
namespace: {{ $more.namespace | default $root.Release.Namespace }}
labels:
  {{- include "berth.selector" (list $root (index . 1)) | nindent 2 }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/part-of: berth
  {{- with merge (dict) ($more.labels | default dict) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) ($more.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The reference of an image: (list $ image). */}}
{{- define "berth.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if and $root.Values.imageRegistry (not (contains "/" $image.repository)) }}{{ $root.Values.imageRegistry }}/{{ end -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}
