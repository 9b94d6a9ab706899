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
app.kubernetes.io/name: {{ include "composio-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* Labels and annotations of an object. Takes a list: the root, further annotations and, if there are any, further labels. Of
labels of one name the first counts, so that none comes twice and nobody else sets those that objects are selected by. */}}
{{- define "composio-operator.metadata" -}}
{{- $root := index . 0 -}}
{{- $labels := fromYaml (include "composio-operator.selector" $root) -}}
{{- range slice . 2 -}}
{{- $labels = merge $labels . -}}
{{- end -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" -}}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/managed-by" $root.Release.Service -}}
labels:
  {{- merge $labels $own $root.Values.commonLabels | toYaml | nindent 2 }}
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
{{- with .Values.log.filter }}
- name: RUST_LOG
  value: {{ . | quote }}
{{- end }}
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

{{/* Labels and annotations of pods with these labels of their own. Takes a list: the root, the labels. */}}
{{- define "composio-operator.podmetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- merge (index . 1) $root.Values.podLabels $root.Values.commonLabels | toYaml | nindent 2 }}
{{- with merge (dict) $root.Values.podAnnotations $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every pod has: where it may run, credentials of the registry, and what the standard `restricted` asks of pods. The
environment has the chart's variables and no Service's, which could have their names. OpenShift chooses the user itself. */}}
{{- define "composio-operator.pod" -}}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- if not (.Capabilities.APIVersions.Has "security.openshift.io/v1") }}
  runAsUser: 65532
  runAsGroup: 65532
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The same of containers. */}}
{{- define "composio-operator.container" -}}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}
