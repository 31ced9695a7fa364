{{- define "larder.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "larder.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "larder.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "larder.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "larder.selector" -}}
app.kubernetes.io/name: {{ include "larder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "larder.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "larder.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "larder.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "larder.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "larder.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Fields that the pods of the service and of the jobs share. */}}
{{- define "larder.pod" -}}
serviceAccountName: {{ include "larder.serviceAccount" . }}
automountServiceAccountToken: false
# Variables such as LARDER_PORT, which Kubernetes makes of Services, are not settings.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- end -}}

{{/* Fields that the containers share. */}}
{{- define "larder.container" -}}
image: {{ include "larder.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end -}}

{{/* The sections of `config` but [[keys]], which a running service takes over. */}}
{{- define "larder.settings" -}}
{{- range regexSplit "(?m)^\\s*\\[" .Values.config -1 }}
{{- if not (hasPrefix "[keys]]" .) }}{{ . }}{{ end }}
{{- end }}
{{- end -}}

{{/* Environment of a container, by the secrets of the service or of the jobs. */}}
{{- define "larder.env" -}}
- { name: LARDER_CONFIG, value: /etc/larder/config/larder.toml }
{{- if .secrets.lake.name }}
- { name: LARDER_LAKE_CREDENTIALS_FILE, value: /etc/larder/secrets/lake }
{{- end }}
{{- if .secrets.tair.name }}
- { name: LARDER_TAIR_PASSWORD_FILE, value: /etc/larder/secrets/tair }
{{- end }}
{{- if .root.Values.secrets.tairCa.name }}
- { name: LARDER_TAIR_CA_FILE, value: /etc/larder/secrets/tair-ca.pem }
{{- end }}
{{- if .root.Values.views }}
- { name: LARDER_VIEWS_FOLDER, value: /etc/larder/views }
{{- end }}
{{- with .root.Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "larder.mounts" -}}
- { name: config, mountPath: /etc/larder/config, readOnly: true }
{{- if .root.Values.views }}
- { name: views, mountPath: /etc/larder/views, readOnly: true }
{{- end }}
- { name: secrets, mountPath: /etc/larder/secrets, readOnly: true }
- { name: tmp, mountPath: /tmp }
{{- end -}}

{{/* Files are mounted as folders and not one by one, so that changes reach running pods. */}}
{{- define "larder.volumes" -}}
- name: config
  configMap: { name: {{ include "larder.fullname" .root }} }
{{- if .root.Values.views }}
- name: views
  configMap: { name: {{ include "larder.fullname" .root }}-views }
{{- end }}
- name: secrets
  {{- if not (or .secrets.lake.name .secrets.tair.name .root.Values.secrets.tairCa.name) }}
  emptyDir: {}
  {{- else }}
  projected:
    defaultMode: 0440
    sources:
      {{- if .secrets.lake.name }}
      - secret:
          name: {{ .secrets.lake.name }}
          items: [{ key: {{ .secrets.lake.key | quote }}, path: lake }]
      {{- end }}
      {{- if .secrets.tair.name }}
      - secret:
          name: {{ .secrets.tair.name }}
          items: [{ key: {{ .secrets.tair.key | quote }}, path: tair }]
      {{- end }}
      {{- with .root.Values.secrets.tairCa }}
      {{- if .name }}
      - secret:
          name: {{ .name }}
          items: [{ key: {{ .key | quote }}, path: tair-ca.pem }]
      {{- end }}
      {{- end }}
  {{- end }}
- name: tmp
  emptyDir: { sizeLimit: 256Mi }
{{- end -}}

{{/* Volume of temporary files, by the `staging` values of the build or of its workers. */}}
{{- define "larder.staging" -}}
- name: staging
  {{- if .storageClass }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .storageClass }}
        resources: { requests: { storage: {{ .size }} } }
  {{- else }}
  emptyDir: { sizeLimit: {{ .size }} }
  {{- end }}
{{- end -}}

{{/* Certificate of a build and its workers. */}}
{{- define "larder.buildTls" -}}
- name: build-tls
  secret: { secretName: {{ .Values.build.workers.tls.name }}, defaultMode: 0440 }
{{- end -}}
