"""Triggers that watch a cluster: one request stays open, nothing is asked again while nothing happens.

Triggers run in the triggerer, which imports them by their path; nothing else of ours does before a task defers.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.rollout import Judgement

WATCH_SECONDS = 240
"""A watch is begun anew before load balancers call its connection idle."""

LOOK_SECONDS = 60.0
"""Kinds that are not watched are looked at this often; a rollout of Deployments needs none of it."""

CALM_SECONDS = 0.3
_LONGEST_PAUSE = 30.0
_TIME_IS_OVER = "its time is over"


class AnswerError(RuntimeError):
    """The API server answered, and it was none of the 200s."""

    def __init__(self, status: int) -> None:
        """Keep the status for those who can make sense of it."""
        super().__init__(f"It answered {status}.")
        self.status = status


class ClusterTrigger(BaseTrigger):
    """Ends when what it waits for is decided, or when its time is over; the step that resumes looks for itself.

    An API server that is away is asked again, less and less often; a watch that has expired begins with a new look.
    """

    def __init__(self, *, connection: str, namespace: str, deadline: float, **kwargs: Any) -> None:
        """``connection``: id of the Airflow Connection; ``deadline``: in seconds since the epoch."""
        super().__init__(**kwargs)
        self.connection = connection
        self.namespace = namespace
        self.deadline = deadline
        self._pause = 1.0

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return what it is made with besides what all have."""

    @abstractmethod
    def event(self, said: str) -> dict[str, Any]:
        """Return what the step that resumes is told."""

    @abstractmethod
    async def until_decided(self, client: Any) -> str:
        """Wait; return how it ended, or raise whatever kept it from looking."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes it from; no secret is in it: the Connection is read there."""
        shared = {"connection": self.connection, "namespace": self.namespace, "deadline": self.deadline}
        return f"{type(self).__module__}.{type(self).__name__}", {**shared, **self.arguments()}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until something is decided."""
        while self.left > 0:
            try:
                async with self._client() as client:
                    said = await self.until_decided(client)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever keeps us from looking is over some time
                why = f"it answered {error.status}" if isinstance(error, AnswerError) else type(error).__name__
                self.log.warning("Could not look at %s: %s. It is tried again.", self.namespace, why)
                await asyncio.sleep(min(self._pause, max(self.left, 0.0)))
                self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            else:
                yield TriggerEvent(self.event(said))
                return
        yield TriggerEvent(self.event(_TIME_IS_OVER))

    @property
    def left(self) -> float:
        """Seconds until its time is over."""
        return self.deadline - time.time()

    async def json(self, client: Any, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return an answer of the API server."""
        answer = await self.open(client, path, query or {}, seconds=30)
        try:
            found: dict[str, Any] = json.loads(await answer.read())
        finally:
            answer.close()
        return found

    async def open(
        self,
        client: Any,
        path: str,
        query: Mapping[str, str],
        *,
        seconds: float | tuple[float, float],
        method: str = "GET",
        body: object = None,
    ) -> Any:
        """Return an answer unread; ``seconds``: for all of it, or to connect and between two pieces.

        Raises:
            AnswerError: It is none of the 200s.
        """
        content = {} if body is None else {"Content-Type": "application/merge-patch+json"}
        answer = await client.call_api(
            path,
            method,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", **content},
            body=body,
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=seconds,
        )
        if answer.status >= 300:
            answer.close()
            raise AnswerError(answer.status)
        self._pause = 1.0
        return answer

    async def until_something(self, client: Any, path: str, query: Mapping[str, str]) -> None:
        """Return when a watch says anything: a change, that it has expired, that it is over."""
        watch = {"watch": "true", "timeoutSeconds": str(WATCH_SECONDS), **query}
        answer = await self.open(client, path, watch, seconds=WATCH_SECONDS + 30)
        try:
            await answer.content.readany()
        finally:
            answer.close()

    def _client(self) -> Any:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import (  # noqa: PLC0415 - in the triggerer only
            AsyncKubernetesHook,
        )

        return AsyncKubernetesHook(conn_id=self.connection).get_conn()


class RolloutTrigger(ClusterTrigger):
    """Ends when a rollout is decided."""

    def __init__(self, *, release: str, workloads: Sequence[Sequence[str]], **kwargs: Any) -> None:
        """``workloads``: API version, kind and name of each."""
        super().__init__(**kwargs)
        self.release = release
        self.workloads = [tuple(each) for each in workloads]

    def arguments(self) -> dict[str, Any]:
        """Return the rollout."""
        return {"release": self.release, "workloads": [list(each) for each in self.workloads]}

    def event(self, said: str) -> dict[str, Any]:
        """Return which rollout it is, and how it ended."""
        return {"kind": "rollout", "release": self.release, "said": said}

    async def until_decided(self, client: Any) -> str:
        """Wait until every workload runs the release, or one never will."""
        from feature_delivery.adapters.platforms.kubernetes.rollout import Outcome  # noqa: PLC0415 - in the triggerer

        while True:
            found, versions = await self._look(client)
            if found.outcome is not Outcome.WAITING:
                return found.outcome.value
            if self.left <= 0:
                return _TIME_IS_OVER
            await self._until_one_of(client, versions, seconds=min(self.left, LOOK_SECONDS))

    async def _look(self, client: Any) -> tuple[Judgement, dict[str, str]]:
        from feature_delivery.adapters.platforms.kubernetes.resources import POD, resource_of  # noqa: PLC0415
        from feature_delivery.adapters.platforms.kubernetes.rollout import judge  # noqa: PLC0415

        workloads = []
        versions = {}
        for version, kind, name in self.workloads:
            resource = resource_of({"apiVersion": version, "kind": kind})
            found = await self.json(client, resource.path(self.namespace, name))
            workloads.append(found)
            versions[resource.path(self.namespace)] = found["metadata"]["resourceVersion"]
        path = POD.path(self.namespace)
        listing = await self.json(client, path, {"labelSelector": self._selector()})
        versions[path] = listing["metadata"]["resourceVersion"]
        return judge(workloads, listing.get("items") or []), versions

    def _selector(self) -> str:
        from feature_delivery.adapters.platforms.kubernetes.names import RELEASE  # noqa: PLC0415 - as above

        return f"{RELEASE}={self.release}"

    async def _until_one_of(self, client: Any, versions: Mapping[str, str], *, seconds: float) -> None:
        names = {name for _, _, name in self.workloads}
        watches = [
            asyncio.ensure_future(self._watch(client, path, version, names))
            for path, version in versions.items()
            if path.endswith(("/pods", "/deployments"))
        ]
        try:
            done, _ = await asyncio.wait(watches, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            await cancelled(watches)
        # A rollout is a burst of changes: one look at the end of it does.
        await asyncio.sleep(CALM_SECONDS)

    async def _watch(self, client: Any, path: str, version: str, names: set[str]) -> None:
        query = {"resourceVersion": version}
        if path.endswith("/pods"):
            query["labelSelector"] = self._selector()
        elif len(names) == 1:
            query["fieldSelector"] = f"metadata.name={next(iter(names))}"
        await self.until_something(client, path, query)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """End tasks and wait until they have."""
    for one in tasks:
        one.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)
