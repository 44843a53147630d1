"""One Airflow DAG per project file: from issue to production.

A project file that cannot be used is left out here and reported by ``broken_projects.py``: an import error of this
file would take the DAGs of all projects down.
"""

from airflow.sdk import get_parsing_context

from feature_delivery.bootstrap.settings import projects
from feature_delivery.orchestration.build import build_dag

# A worker that runs one task needs that task's DAG only.
_wanted = get_parsing_context().dag_id

for _project in projects().values():
    if _wanted is None or _wanted == _project.dag_id:
        globals()[_project.dag_id] = build_dag(_project)
