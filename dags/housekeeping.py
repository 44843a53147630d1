"""The Airflow DAG that looks after deliveries: deadlines, stranded runs, lost webhooks, the outbox, the reaper."""

from feature_delivery.bootstrap.settings import projects
from feature_delivery.orchestration.housekeeping import build_housekeeping_dag

feature_delivery_housekeeping = build_housekeeping_dag(projects().values())
