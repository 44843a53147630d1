"""Airflow's way in: mounts the web app in the API server. Every Airflow process imports this file: it imports little.

No listener: Airflow 3.3.2 has none for a clear. A middleware sees every hand action in the API server instead.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin


class _OnlyInTheApiServer:
    """A class attribute that is made when it is first asked for: only the API server asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, _instance: object, _owner: type) -> list[dict[str, Any]]:
        from feature_delivery.web import plugin  # noqa: PLC0415 - FastAPI and the ORM, in the API server alone

        return list(getattr(plugin, self._name)())


class FeatureDeliveryPlugin(AirflowPlugin):  # type: ignore[misc] # Airflow is not followed by the type checker
    """Registers the web app and its pages."""

    name = "feature_delivery"
    # The board in Airflow's navigation, and a run's feature as a tab of the run.
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Deliveries",
            "href": "feature-delivery/board/",
            "destination": "nav",
            "url_route": "deliveries",
            "nav_top_level": True,
            "icon": "/feature-delivery/board/static/nav.svg",
            "icon_dark_mode": "/feature-delivery/board/static/nav-dark.svg",
        },
        {
            "name": "Feature",
            "href": "feature-delivery/board/run?dag={DAG_ID}&run={RUN_ID}",
            "destination": "dag_run",
            "url_route": "feature",
            "icon": "/feature-delivery/board/static/nav.svg",
            "icon_dark_mode": "/feature-delivery/board/static/nav-dark.svg",
        },
    ]
    fastapi_apps = _OnlyInTheApiServer("apps")
    fastapi_root_middlewares = _OnlyInTheApiServer("middlewares")
