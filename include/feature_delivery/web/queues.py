"""Who takes tasks from Celery's queues, as the workers themselves say it.

Airflow has no row, no heartbeat and no metric for a Celery worker: one that is killed is missed by nobody until tasks
wait. So a background thread asks all of them, now and then; a scrape only reads what it has heard.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from airflow.configuration import conf

from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.project import LOCAL_QUEUE

WORKER = "queues"
LOOK_SECONDS = 30.0
ANSWER_SECONDS = 3.0
"""So long nothing more has come when all have answered: workers answer within milliseconds, busy ones too."""

OLD_SECONDS = 180.0
"""What was heard so long ago says nothing: the broker keeps us waiting."""

_CONNECT = {"socket_connect_timeout": 5, "socket_timeout": 20, "max_retries": 1, "interval_start": 0}

_log = logging.getLogger(__name__)

Answers = Sequence[Mapping[str, list[dict[str, Any]]]]
"""One of each worker: its name with the queues that it takes, as ``celery inspect active_queues`` has them.

Not by name, as ``inspect`` itself returns them: two workers may have the same one (``--scale worker-local=2``), and
whether there are two is the question.
"""


def is_celery() -> bool:
    """Say whether tasks, or some of them, go to Celery's workers."""
    return "CeleryExecutor" in conf.get("core", "executor")


def needed() -> set[str]:
    """Return the queues into which deliveries are put."""
    local = any(project.platform == "local" for project in settings.survey().projects.values())
    return {conf.get("operators", "default_queue"), *([LOCAL_QUEUE] if local else [])}


@cache
def _app(_broker: str) -> Any:
    """Return Airflow's own application: broker, TLS, options as its workers have them. It takes a second to import."""
    from airflow.providers.celery.executors.celery_executor_utils import create_celery_app  # noqa: PLC0415

    return create_celery_app(conf)


def _ask() -> Answers:
    app = _app(conf.get("celery", "broker_url"))
    with app.connection_for_write(transport_options=_CONNECT) as connection:
        found = app.control.broadcast("active_queues", reply=True, timeout=ANSWER_SECONDS, connection=connection)
    answers: Answers = found or []
    return answers


def takers(queue: str) -> Sequence[str]:
    """Ask Celery's workers which of them take a queue now; returns a name for each of them, sorted.

    Raises:
        Unavailable: The broker does not answer this server.
    """
    try:
        answers = _ask()
    except Exception as error:  # noqa: BLE001 - as below
        raise Unavailable(
            f"Could not ask Celery's workers who takes the queue {queue!r}: the broker of [celery] broker_url did not "
            f"answer this API server ({type(error).__name__}). Look whether it runs."
        ) from None  # its text may hold the broker's address with the password
    return sorted(worker for worker, taken in _each(answers) if any(one["name"] == queue for one in taken))


def _each(answers: Answers) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    return (pair for answer in answers for pair in answer.items())


@dataclass
class Queues:
    """What was heard last in this process."""

    ask: Callable[[], Answers] = _ask
    _at: float = 0.0
    _workers: Counter[str] | None = field(default=None)

    def look(self) -> float:
        """Ask every worker; return in how many seconds to ask again."""
        try:
            answers = self.ask()
        except Exception as error:  # noqa: BLE001 - each broker has errors of its own
            # Their texts may hold the broker's address with its password.
            _log.warning("Could not ask Celery's workers by the broker: %s.", type(error).__name__)
            self._workers = None
        else:
            self._workers = Counter(queue["name"] for _, taken in _each(answers) for queue in taken)
        self._at = time.monotonic()
        return LOOK_SECONDS

    def workers(self) -> Mapping[str, int] | None:
        """Return how many workers take each queue, 0 where nobody does; ``None``: the broker does not answer."""
        if self._workers is None or time.monotonic() - self._at > OLD_SECONDS:
            return None
        return {queue: self._workers[queue] for queue in sorted({*needed(), *self._workers})}

    def has_looked(self) -> bool:
        """Say whether anybody has been asked yet."""
        return self._at > 0


queues = Queues()
