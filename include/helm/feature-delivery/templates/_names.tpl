{{/* Labels as the official chart has them: its own policies let everything of a release with `tier: airflow` in. */}}
{{- define "delivery.labels" -}}
tier: airflow
component: {{ .component }}
release: {{ .root.Release.Name }}
chart: "{{ .root.Chart.Name }}-{{ .root.Chart.Version }}"
heritage: {{ .root.Release.Service }}
{{- end }}

{{- define "delivery.selector" -}}
tier: airflow
component: {{ .component }}
release: {{ .root.Release.Name }}
{{- end }}

{{/* Name that the official chart's objects begin with. */}}
{{- define "delivery.airflow" -}}
{{ include "airflow.fullname" .Subcharts.airflow }}
{{- end }}

{{/* Service accounts of everything that asks the cluster for shops: workers, triggerer, API server (for `doctor`). */}}
{{- define "delivery.platformAccounts" -}}
{{- $airflow := .Subcharts.airflow }}
- {{ include "worker.serviceAccountName" $airflow }}
{{- if $airflow.Values.workers.kubernetes.serviceAccount.create }}
- {{ include "worker.kubernetes.serviceAccountName" $airflow }}
{{- end }}
- {{ include "triggerer.serviceAccountName" $airflow }}
- {{ include "apiServer.serviceAccountName" $airflow }}
{{- end }}
