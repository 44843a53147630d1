"""One whole Airflow for all attacks that begin in its pages, its REST API, or with a token of a task."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.airflow import copied_engine
from tests.support.postgres import PostgresServer
from tests.support.web_app import Shop, running_shop, whole_airflow


@pytest.fixture(scope="module")
def airflow(
    postgres_server: PostgresServer, airflow_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Airflow's whole API server with the plugin; every test brings a feature of its own."""
    directory = tmp_path_factory.mktemp("attacked")
    with pytest.MonkeyPatch.context() as patched, copied_engine(postgres_server, airflow_template, patched):
        patched.setattr("feature_delivery.web.workers.start_all", lambda _works: None)
        with running_shop(directory, patched) as inner, whole_airflow(inner, patched) as found:
            found.tasks.base_url = found.address + "/feature-delivery"
            yield found
