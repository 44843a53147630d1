"""Who takes tasks from Celery's queues: what workers say becomes figures, and silence is no answer."""

from __future__ import annotations

import logging

import pytest

from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.project import LOCAL_QUEUE
from feature_delivery.web import queues
from feature_delivery.web.queues import Answers, Queues
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "needed", lambda: {"default", "feature_delivery_local"})


def test_a_queue_that_is_needed_and_taken_by_nobody_counts_none() -> None:
    said: Answers = [
        {"celery@one": [{"name": "default"}, {"name": "reports"}]},
        {"celery@two": [{"name": "default"}]},
    ]
    found = Queues(ask=lambda: said)
    assert not found.has_looked()
    assert found.look() == queues.LOOK_SECONDS
    assert found.has_looked()
    assert found.workers() == {"default": 2, "feature_delivery_local": 0, "reports": 1}


def test_that_nobody_answers_at_all_is_an_answer() -> None:
    found = Queues(ask=list)
    found.look()
    assert found.workers() == {"default": 0, "feature_delivery_local": 0}


def test_a_broker_that_does_not_answer_says_nothing_of_workers_and_its_password_stays_unsaid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away() -> Answers:
        raise ConnectionError("redis://:the-password@redis:6379 refused")

    found = Queues(ask=lambda: [{"celery@one": [{"name": "default"}]}])
    found.look()
    found.ask = away
    with caplog.at_level(logging.WARNING):
        assert found.look() == queues.LOOK_SECONDS
    assert found.has_looked()
    assert found.workers() is None
    assert "ConnectionError" in caplog.text
    assert "the-password" not in caplog.text


def test_what_was_heard_too_long_ago_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("feature_delivery.web.queues.time.monotonic", lambda: clock[0])
    found = Queues(ask=list)
    found.look()
    clock[0] += queues.OLD_SECONDS + 1
    assert found.workers() is None


def test_only_celery_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for executor, asked in {
        "LocalExecutor": False,
        "CeleryExecutor": True,
        "KubernetesExecutor,airflow.providers.celery.executors.celery_executor.CeleryExecutor": True,
    }.items():
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
        assert queues.is_celery() is asked


def test_who_takes_a_queue_is_asked_of_the_workers_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    said: Answers = [{"celery@b": [{"name": "x"}, {"name": "y"}]}, {"celery@a": [{"name": "x"}]}, {"celery@c": []}]
    monkeypatch.setattr(queues, "_ask", lambda: said)
    assert queues.takers("x") == ["celery@a", "celery@b"]
    assert queues.takers("z") == []


def test_two_workers_of_one_name_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen with ``--scale worker-local=2``: doctor found one where two containers started the same environments."""
    said: Answers = [{"celery@worker-local": [{"name": LOCAL_QUEUE}]}, {"celery@worker-local": [{"name": LOCAL_QUEUE}]}]
    monkeypatch.setattr(queues, "_ask", lambda: said)
    assert queues.takers(LOCAL_QUEUE) == ["celery@worker-local"] * 2
    found = Queues(ask=lambda: said)
    found.look()
    assert found.workers() == {"default": 0, LOCAL_QUEUE: 2}


def test_a_broker_that_is_away_is_one_sentence_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", f"redis://:the-password@127.0.0.1:{free_port()}/0")
    with pytest.raises(Unavailable, match=r"queue 'x'.* did not answer .* Look whether it runs") as raised:
        queues.takers("x")
    assert "the-password" not in str(raised.value)
