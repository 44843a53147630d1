"""Watching production for minutes without a worker: a trigger looks, the task comes back to judge.

Not a gate of the ledger's: what is waited for is time, and figures that have to be looked at meanwhile. One trigger per
project at most (its production is locked), which sleeps nearly always; the run is not shelved for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from feature_delivery.services.work.observing import Watcher

EARLIEST_SECONDS = 10.0
"""Not before: Airflow 3.3 fails a task that is resumed while the word of its deferral is on its way (5.2 s seen)."""


class WatchTrigger(BaseTrigger):
    """Looks at production until the window is over or a critical metric has passed its limit for good.

    A triggerer that takes over goes on to the same end. What the probe has seen until then is lost with its process,
    and the judge says that samples are missing; what Prometheus has measured is not.

    Args:
        plan: A ``WatchPlan`` as JSON; it holds no secret.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        """Store the value."""
        super().__init__()
        self.plan = plan

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what brings this trigger back in another process."""
        return "feature_delivery.orchestration.watching.WatchTrigger", {"plan": self.plan}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look and sleep; ends with what was seen."""
        began = asyncio.get_running_loop().time()
        watcher = await sync_to_async(partial(make_watcher, self.plan))()
        ended = False
        while not ended:
            # A look may take its whole time limit: on a thread, or every other trigger would wait for it.
            ended = await asyncio.to_thread(watcher.look)
            if not ended:
                await asyncio.sleep(watcher.pause)
        early = EARLIEST_SECONDS - (asyncio.get_running_loop().time() - began)
        if early > 0:
            await asyncio.sleep(early)
        yield TriggerEvent(as_json(watcher.seen))


def make_watcher(plan: dict[str, Any]) -> Watcher:
    """Return the watcher for a plan that comes from the database."""
    from feature_delivery.adapters.http_probe import HttpProbe  # noqa: PLC0415 - DAG files need none of these
    from feature_delivery.bootstrap.settings import project  # noqa: PLC0415
    from feature_delivery.bootstrap.tools import measuring  # noqa: PLC0415
    from feature_delivery.domain.watching import WatchPlan  # noqa: PLC0415
    from feature_delivery.services.work.observing import Watcher  # noqa: PLC0415

    read: WatchPlan = from_json(WatchPlan, plan)
    return Watcher(read, project(read.project).watching, measuring(read.connection), HttpProbe())


def as_json(value: object) -> Any:
    """Return a value of the domain as JSON has it."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - as above

    return TypeAdapter(type(value)).dump_python(value, mode="json")


def from_json(kind: Any, content: Any) -> Any:
    """Return the value of the domain; what a version of ours wrote, another one reads.

    Raises:
        pydantic.ValidationError: It is none.
    """
    from pydantic import TypeAdapter  # noqa: PLC0415 - as above

    return TypeAdapter(kind).validate_python(content)
