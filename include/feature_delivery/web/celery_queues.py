"""Which Celery workers take a queue: asked of Celery itself, for ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence

from feature_delivery.domain.errors import Unavailable

CONNECT_SECONDS = 5
ANSWER_SECONDS = 3.0
"""Workers answer in milliseconds; one that is stopped, or cut off from the broker, does not."""


def takers(queue: str) -> Sequence[str]:
    """Return the names of the Celery workers that take tasks of ``queue`` now, sorted.

    Each worker answers for itself. Asked by an application of its own: Airflow's keeps what it was connected to.

    Raises:
        Unavailable: The broker does not answer this server.
    """
    from airflow.providers.celery.executors.celery_executor_utils import (  # noqa: PLC0415 - of who asks, where it is
        get_celery_configuration,
    )
    from celery import Celery  # type: ignore[import-untyped]  # noqa: PLC0415 - as above
    from kombu.exceptions import OperationalError  # noqa: PLC0415 - as above

    application = Celery("feature_delivery", config_source=get_celery_configuration(), set_as_current=False)
    with application.connection_for_write(connect_timeout=CONNECT_SECONDS) as connection:
        try:
            # Without a bound it tries for ever.
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=CONNECT_SECONDS)
            answers = application.control.inspect(timeout=ANSWER_SECONDS, connection=connection).active_queues()
        except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
            raise Unavailable(
                f"Could not ask Celery's workers who takes the queue {queue!r}: the broker of [celery] broker_url did "
                f"not answer this API server ({type(error).__name__}). Look whether it runs."
            ) from error
    return sorted(name for name, queues in (answers or {}).items() if queue in {each["name"] for each in queues})
