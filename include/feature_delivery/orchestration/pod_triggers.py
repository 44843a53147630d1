"""The trigger that waits for a pod and passes its log on, line by line, into the task's log; no worker is held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

from feature_delivery.adapters.platforms.kubernetes.logs import HEARD, Mark, Reading, Speech
from feature_delivery.adapters.platforms.kubernetes.pods import end_of, has_started
from feature_delivery.adapters.platforms.kubernetes.resources import POD, Manifest
from feature_delivery.orchestration.cluster_triggers import AnswerError, ClusterTrigger, cancelled

MARK_EVERY_SECONDS = 2.0
"""A triggerer that is killed has its successor repeat what was written in the last of them."""

QUIET_SECONDS = 240.0
"""A log that says nothing for so long is opened anew, for a connection that is dead says nothing, either."""

_REST_SECONDS = 5.0
_AT_ONCE = 200
"""Lines that are passed on before others in the triggerer have their turn."""


class PodTrigger(ClusterTrigger):
    """Ends when a pod has ended or will never begin its work; what it writes meanwhile is the task's log.

    How far that has come is written on the pod: a triggerer that takes over goes on there.
    """

    def __init__(
        self,
        *,
        pod: str,
        container: str,
        start_by: float,
        hush: Sequence[str] = (),
        ends_with_task: bool = True,
        **kwargs: Any,
    ) -> None:
        """Store the values.

        Args:
            pod: Its name.
            container: Whose log is passed on.
            start_by: It has to have begun its work by then, in seconds since the epoch.
            hush: With a line that begins so the log is not for people any more.
            ends_with_task: It is removed when somebody clears or marks the task. A migration is not: it would be left
                half done, and the next try finds it.
            kwargs: As ``ClusterTrigger`` has them.
        """
        super().__init__(**kwargs)
        self.pod = pod
        self.container = container
        self.start_by = start_by
        self.hush = tuple(hush)
        self.ends_with_task = ends_with_task
        self._first: Mark | None = None
        self._mark = Mark()
        self._written = Mark()
        self._dirty = asyncio.Event()
        self._speech = Speech(self._say, hush=self.hush)

    def arguments(self) -> dict[str, Any]:
        """Return the pod and what is known of it."""
        names = ("pod", "container", "start_by", "ends_with_task")
        return {"hush": list(self.hush), **{name: getattr(self, name) for name in names}}

    def event(self, said: str) -> dict[str, Any]:
        """Return which pod it is, how it ended, and what of its log was passed on here: from where to where."""
        # Names and values that the provider's operator knows.
        status = said if said in {"success", "failed"} else "timeout"
        heard = {"first": str(self._first or Mark()), "heard": str(self._mark)}
        return {"name": self.pod, "namespace": self.namespace, "status": status, "message": said, **heard}

    async def until_decided(self, client: Any) -> str:
        """Wait until the pod has ended, and pass its log on meanwhile."""
        found = await self._look(client)
        if self._first is None:
            self._first = self._mark = self._written = Mark.of(found)
            self._speech = Speech(self._say, hush=self.hush, said=self._mark.lines)
        while end_of(found) is None:
            assert found is not None, "what is not there has ended"
            if has_started(found):
                await self._follow(client, found)
            elif (left := self.start_by - time.time()) <= 0:
                return "it did not start in time"
            else:
                await self._changed(client, found, seconds=left)
            found = await self._look(client)
        if found is None:
            return "failed"
        # The log of a node that is gone is gone, too; whatever else keeps us from it, the step reads it once more.
        with suppress(Exception):
            await self._pass_on(client, follow=False)
        await self._write_mark(client)
        succeeded = (found.get("status") or {}).get("phase") == "Succeeded"
        ended = (found.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
        return ("success" if succeeded else "failed") if ended else "it cannot start"

    async def on_kill(self) -> None:
        """Remove the pod of a task that somebody has cleared or marked, unless it has to come to its end."""
        if self.ends_with_task:
            self.log.info("Remove pod %s: its task is not waited for any more.", self.pod)
            await self._hook().delete_pod(name=self.pod, namespace=self.namespace)

    async def cleanup(self) -> None:
        """Write down how far the log has come; the triggerer stops, and another one goes on."""
        if self._mark != self._written:
            async with self._client() as client:
                await self._write_mark(client)

    def _hook(self) -> AsyncKubernetesHook:
        return AsyncKubernetesHook(conn_id=self.connection)

    def _say(self, line: str) -> None:
        self.log.info("%s", line)

    async def _look(self, client: Any) -> Manifest | None:
        try:
            return await self.json(client, POD.path(self.namespace, self.pod))
        except AnswerError as error:
            if error.status == 404:
                return None
            raise

    async def _changed(self, client: Any, found: Manifest, *, seconds: float | None = None) -> None:
        """Return when anything has happened to the pod since it was looked at, or ``seconds`` are over."""
        query = {
            "resourceVersion": found["metadata"]["resourceVersion"],
            "fieldSelector": f"metadata.name={self.pod}",
        }
        with suppress(TimeoutError):
            await asyncio.wait_for(self.until_something(client, POD.path(self.namespace), query), seconds)

    async def _ended(self, client: Any, found: Manifest | None) -> None:
        while end_of(found) is None:
            assert found is not None, "what is not there has ended"
            await self._changed(client, found)
            found = await self._look(client)

    async def _follow(self, client: Any, found: Manifest) -> None:
        """Pass the log on until it breaks off or the pod has ended, whichever is first."""
        log = asyncio.ensure_future(self._pass_on(client, follow=True))
        end = asyncio.ensure_future(self._ended(client, found))
        notes = asyncio.ensure_future(self._keep_notes(client))
        try:
            await asyncio.wait((log, end), return_when=asyncio.FIRST_COMPLETED)
            if log.done():
                log.result()
                # A log may end before its pod does, or break off: only the pod's end counts.
                await asyncio.wait((end,), timeout=_REST_SECONDS)
            if end.done():
                end.result()
        finally:
            await cancelled((log, end, notes))

    async def _pass_on(self, client: Any, *, follow: bool) -> None:
        """Read the log from where it was left; to its end, or to where it is not for people any more."""
        if self._speech.is_over:
            await self._for_ever(follow=follow)
            return
        query = {"container": self.container, "timestamps": "true"}
        query |= {"follow": "true"} if follow else {}
        query |= {"sinceTime": self._mark.since} if self._mark.since else {}
        path = f"{POD.path(self.namespace, self.pod)}/log"
        answer = await self.open(client, path, query, seconds=(30, QUIET_SECONDS))
        reading = Reading(self._mark)
        try:
            with suppress(TimeoutError):
                while data := await answer.content.readany():
                    if await self._heard(reading, data):
                        break
            if not follow:
                await self._heard(reading, b"", last=True)
        finally:
            answer.close()
        if self._speech.is_over:
            await self._for_ever(follow=follow)

    async def _heard(self, reading: Reading, data: bytes, *, last: bool = False) -> bool:
        """Say what is new; return whether the rest is not for people."""
        for number, (line, new) in enumerate(reading.lines(data, last=last)):
            if new:
                self._speech.hear(line)
            if self._speech.is_over:
                return True  # The mark stays before it: whoever goes on has to see it again.
            self._mark = reading.mark
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        if self._mark != self._written:
            self._dirty.set()
        return False

    async def _for_ever(self, *, follow: bool) -> None:
        """Wait for the pod's end instead of its log: whoever follows it is ended then."""
        if follow:
            await asyncio.Event().wait()

    async def _keep_notes(self, client: Any) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(MARK_EVERY_SECONDS)
            self._dirty.clear()
            await self._write_mark(client)

    async def _write_mark(self, client: Any) -> None:
        """Write on the pod how far its log has been passed on; what cannot be written costs lines that come twice."""
        mark = self._mark
        if mark == self._written:
            return
        body = {"metadata": {"annotations": {HEARD: str(mark)}}}
        with suppress(Exception):
            path = POD.path(self.namespace, self.pod)
            answer = await self.open(client, path, {}, seconds=10, method="PATCH", body=body)
            answer.close()
            self._written = mark
