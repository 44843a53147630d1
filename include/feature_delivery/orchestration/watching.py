"""Watching production for minutes without a worker: a trigger looks, the task comes back to judge.

Not a gate of the ledger's: what is waited for is time, and figures that have to be looked at meanwhile. One trigger per
project at most (its production is locked), which sleeps nearly always; the run is not shelved for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from feature_delivery.domain.errors import Error
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.ports.runs import RunRef, TaskRef

if TYPE_CHECKING:
    from feature_delivery.services.work.keeping import Keeper
    from feature_delivery.services.work.observing import Watcher

EARLIEST_SECONDS = 10.0
"""Not before: Airflow 3.3 fails a task that is resumed while the word of its deferral is on its way (5.2 s seen)."""


KEEP_EVERY_SECONDS = 10.0
"""So much of what the probe sees is lost at most with the process that looks."""

KEEP_PATIENCE = timedelta(seconds=2)
"""The control plane is waited for so long; what could not be kept is kept with what comes next."""

LAST_TRIES = 15
"""A successor that has not learnt yet what was seen before it asks so often, at the end, a second or two apart."""


class WatchTrigger(BaseTrigger):
    """Looks at production until the window is over or a critical metric has passed its limit for good.

    A triggerer that takes over goes on to the same end. What the probe has seen is in the ledger: the looks of the
    last seconds before a kill are lost, those of a stop in order are not. While nobody looks nothing is seen, and the
    judge counts that as missing. What Prometheus has measured is its own to keep.

    Args:
        plan: A ``WatchPlan`` as JSON; it holds no secret.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        """Store the value."""
        super().__init__()
        self.plan = plan
        self._keeper: Keeper | None = None
        self._keeping: asyncio.Future[None] | None = None
        self._prepared = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what brings this trigger back in another process."""
        return "feature_delivery.orchestration.watching.WatchTrigger", {"plan": self.plan}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look and sleep; ends with what was seen."""
        now = asyncio.get_running_loop().time
        began = now()
        watcher = await sync_to_async(partial(make_watcher, self.plan))()
        kept_at, ended = began - KEEP_EVERY_SECONDS, False
        while not ended:
            if now() - kept_at >= KEEP_EVERY_SECONDS and (self._keeping is None or self._keeping.done()):
                kept_at = now()
                self._keeping = asyncio.ensure_future(self._exchange(watcher))
            # A look may take its whole time limit: on a thread, or every other trigger would wait for it.
            ended = await asyncio.to_thread(watcher.look)
            if not ended:
                await asyncio.sleep(watcher.pause)
        await self._learn_the_past()
        early = EARLIEST_SECONDS - (now() - began)
        if early > 0:
            await asyncio.sleep(early)
        self._keeper = None  # the event holds everything
        yield TriggerEvent(as_json(watcher.seen))

    async def cleanup(self) -> None:
        """Keep what is not kept yet: the triggerer stops, and another one goes on."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping])
        if self._keeper is not None and self._keeper.behind:
            await asyncio.to_thread(self._keep)

    async def _learn_the_past(self) -> None:
        """Ask for what was seen before, if the control plane has not answered until now: it may just be restarted."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping])
        for _ in range(LAST_TRIES):
            if self._keeper is None or self._keeper.recalled:
                return
            await asyncio.to_thread(self._keep)
            if not self._keeper.recalled:
                await asyncio.sleep(1.0)

    async def _exchange(self, watcher: Watcher) -> None:
        """Keep what there is to keep, beside the looks: the first Connection that a triggerer reads takes seconds."""
        if not self._prepared:
            self._keeper = await sync_to_async(partial(self._make_keeper, watcher))()
            self._prepared = True
        await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        """Fetch and hand in what there is; what is not possible now is tried again."""
        if self._keeper is None:
            return
        try:
            self._keeper.exchange()
        except Error as error:
            self.log.warning("What the probe sees could not be kept just now: %s", error)

    def _make_keeper(self, watcher: Watcher) -> Keeper | None:
        try:
            return make_keeper(self.plan, watcher)
        except Error as error:
            self.log.warning("What the probe sees is not kept, and is lost with this triggerer: %s", error)
            return None


def make_watcher(plan: dict[str, Any]) -> Watcher:
    """Return the watcher for a plan that comes from the database."""
    from feature_delivery.adapters.http_probe import HttpProbe  # noqa: PLC0415 - DAG files need none of these
    from feature_delivery.bootstrap.settings import project  # noqa: PLC0415
    from feature_delivery.bootstrap.tools import measuring  # noqa: PLC0415
    from feature_delivery.domain.watching import WatchPlan  # noqa: PLC0415
    from feature_delivery.services.work.observing import Watcher  # noqa: PLC0415

    read: WatchPlan = from_json(WatchPlan, plan)
    return Watcher(read, project(read.project).watching, measuring(read.connection), HttpProbe())


def make_keeper(plan: dict[str, Any], watcher: Watcher) -> Keeper | None:
    """Return what keeps the looks of a watch; ``None``: it has none, or an earlier version has planned it.

    Raises:
        Misconfigured: The Connection of the control plane cannot be read here.
    """
    from feature_delivery.bootstrap import tools  # noqa: PLC0415 - as above
    from feature_delivery.domain.watching import WatchPlan  # noqa: PLC0415
    from feature_delivery.orchestration.link import address  # noqa: PLC0415
    from feature_delivery.services.work.keeping import Keeper  # noqa: PLC0415

    read: WatchPlan = from_json(WatchPlan, plan)
    keep = read.keep
    if keep is None:
        return None
    task = TaskRef(
        run=RunRef(ProjectName(read.project), keep.run_id),
        step=Step.OBSERVE_PRODUCTION,
        try_number=keep.try_number,
        task_instance=keep.task_instance,
    )
    ledger = tools.looks(tools.channel(*address(), patience=KEEP_PATIENCE))
    return Keeper(ledger=ledger, task=task, permit=keep.permit, watcher=watcher)


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
