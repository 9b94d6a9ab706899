{{- define "composio-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "composio-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "composio-operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names of objects of the whole cluster: two releases must not share one. */}}
{{- define "composio-operator.clustername" -}}
{{- printf "%s-%s" .Release.Namespace (include "composio-operator.fullname" .) -}}
{{- end -}}

{{- define "composio-operator.serviceaccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "composio-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that exists, or set serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "composio-operator.selector" -}}
app.kubernetes.io/name: {{ include "composio-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "composio-operator.labels" -}}
{{ include "composio-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of an object. Takes a list: the root, further annotations. */}}
{{- define "composio-operator.metadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "composio-operator.labels" $root | nindent 2 }}
{{- with merge (dict) (index . 1) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "composio-operator.image" -}}
{{- $repository := required "image.repository: name where your image of composio-operator is" .Values.image.repository -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository $tag -}}
{{- end -}}
{{- end -}}

{{/* Environment of the process. */}}
{{- define "composio-operator.env" -}}
- name: COMPOSIO_OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.watchNamespaces }}
- name: COMPOSIO_OPERATOR_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
- name: COMPOSIO_OPERATOR_LEADER_ELECT
  value: "true"
- name: COMPOSIO_OPERATOR_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: RUST_LOG
  value: {{ .Values.log.filter | quote }}
{{- range $name, $value := .Values.settings }}
- name: COMPOSIO_OPERATOR_{{ snakecase $name | upper }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.proxy.httpsProxy }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
- name: NO_PROXY
  # The cluster's own API server is not behind the proxy.
  value: {{ list "$(KUBERNETES_SERVICE_HOST)" ".svc" ".cluster.local" $.Values.proxy.noProxy | compact | join "," | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What every pod has: credentials of the registry, and what the standard `restricted` asks of pods. */}}
{{- define "composio-operator.podsecurity" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{ end -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{/* The same of containers. */}}
{{- define "composio-operator.containersecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
