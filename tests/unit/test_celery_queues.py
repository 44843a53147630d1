"""Celery asked who takes a queue; that real workers answer is seen in tests/e2e/test_compose_stack.py."""

from __future__ import annotations

import pytest
from airflow.providers.celery.executors import celery_executor_utils

from feature_delivery.domain.errors import Unavailable
from feature_delivery.web.celery_queues import takers
from tests.support.ports import free_port


def test_a_broker_that_does_not_answer_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"redis://:hidden@127.0.0.1:{free_port()}/0"
    monkeypatch.setattr(celery_executor_utils, "get_celery_configuration", lambda: {"broker_url": address})
    with pytest.raises(Unavailable, match=r"who takes the queue 'local': .* Look whether it runs") as caught:
        takers("local")
    assert "hidden" not in str(caught.value)
