"""Shows project files that cannot be used as Airflow's import errors; makes no DAG.

Apart from ``feature_delivery.py``, because Airflow takes every DAG of a file with an import error out of service.
"""

from feature_delivery.bootstrap.settings import survey
from feature_delivery.domain.errors import Misconfigured

if _faults := survey().faults:
    raise Misconfigured(" ".join(_faults.values()))
