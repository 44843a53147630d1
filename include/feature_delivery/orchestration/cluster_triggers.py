"""The trigger that watches a rollout: one request stays open, nothing is asked again while nothing happens.

Triggers run in the triggerer, which imports this file by its path; nothing else of ours does before a task defers.
"""

from __future__ import annotations

import asyncio
import json
import time
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

_CALM_SECONDS = 0.3
_LONGEST_PAUSE = 30.0


class RolloutTrigger(BaseTrigger):
    """Ends when a rollout is decided, or when its time is over; the step that resumes looks for itself.

    An API server that is away is asked again, less and less often; a watch that has expired begins with a new listing.
    """

    def __init__(
        self,
        *,
        connection: str,
        namespace: str,
        release: str,
        workloads: Sequence[Sequence[str]],
        deadline: float,
        **kwargs: Any,
    ) -> None:
        """``deadline`` is in seconds since the epoch; ``workloads``: API version, kind and name of each."""
        super().__init__(**kwargs)
        self.connection = connection
        self.namespace = namespace
        self.release = release
        self.workloads = [tuple(each) for each in workloads]
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes it from; no secret is in it: the Connection is read there."""
        return (
            f"{__name__}.{type(self).__name__}",
            {
                "connection": self.connection,
                "namespace": self.namespace,
                "release": self.release,
                "workloads": [list(each) for each in self.workloads],
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until something is decided."""
        pause = 1.0
        while (left := self.deadline - time.time()) > 0:
            try:
                async with self._client() as client:
                    pause = 1.0
                    said = await self._until_decided(client)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever keeps us from looking is over some time
                self.log.warning("Could not look at %s: %s. Try again.", self.namespace, type(error).__name__)
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                yield TriggerEvent({"kind": "rollout", "release": self.release, "said": said})
                return
        yield TriggerEvent({"kind": "rollout", "release": self.release, "said": "its time is over"})

    def _client(self) -> Any:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import (  # noqa: PLC0415 - in the triggerer only
            AsyncKubernetesHook,
        )

        return AsyncKubernetesHook(conn_id=self.connection).get_conn()

    async def _until_decided(self, client: Any) -> str:
        from feature_delivery.adapters.platforms.kubernetes.rollout import Outcome  # noqa: PLC0415 - as above

        while True:
            found, versions = await self._look(client)
            if found.outcome is not Outcome.WAITING:
                return found.outcome.value
            left = self.deadline - time.time()
            if left <= 0:
                return "its time is over"
            await self._until_something(client, versions, seconds=min(left, LOOK_SECONDS))

    async def _look(self, client: Any) -> tuple[Judgement, dict[str, str]]:
        from feature_delivery.adapters.platforms.kubernetes.resources import POD, resource_of  # noqa: PLC0415
        from feature_delivery.adapters.platforms.kubernetes.rollout import judge  # noqa: PLC0415

        workloads = []
        versions = {}
        for version, kind, name in self.workloads:
            resource = resource_of({"apiVersion": version, "kind": kind})
            found = await _json(client, resource.path(self.namespace, name), {})
            workloads.append(found)
            versions[resource.path(self.namespace)] = found["metadata"]["resourceVersion"]
        path = POD.path(self.namespace)
        listing = await _json(client, path, {"labelSelector": self._selector()})
        versions[path] = listing["metadata"]["resourceVersion"]
        return judge(workloads, listing.get("items") or []), versions

    def _selector(self) -> str:
        from feature_delivery.adapters.platforms.kubernetes.names import RELEASE  # noqa: PLC0415 - as above

        return f"{RELEASE}={self.release}"

    async def _until_something(self, client: Any, versions: Mapping[str, str], *, seconds: float) -> None:
        """Return when one of the watches says anything: a change, that it has expired, that it is over."""
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
            for one in watches:
                one.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*watches, return_exceptions=True)
        # A rollout is a burst of changes: one look at the end of it does.
        await asyncio.sleep(_CALM_SECONDS)

    async def _watch(self, client: Any, path: str, version: str, names: set[str]) -> None:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        if path.endswith("/pods"):
            query["labelSelector"] = self._selector()
        elif len(names) == 1:
            query["fieldSelector"] = f"metadata.name={next(iter(names))}"
        answer = await _get(client, path, query, seconds=WATCH_SECONDS + 30)
        try:
            await answer.content.readany()
        finally:
            answer.close()


async def _json(client: Any, path: str, query: dict[str, str]) -> dict[str, Any]:
    answer = await _get(client, path, query, seconds=30)
    try:
        found: dict[str, Any] = json.loads(await answer.read())
    finally:
        answer.close()
    return found


async def _get(client: Any, path: str, query: dict[str, str], *, seconds: float) -> Any:
    """Return an answer unread.

    Raises:
        RuntimeError: It is none of the 200s.
    """
    answer = await client.call_api(
        path,
        "GET",
        query_params=list(query.items()),
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
        _preload_content=False,
        _request_timeout=seconds,
    )
    if answer.status >= 300:
        answer.close()
        raise RuntimeError(f"It answered {answer.status}.")
    return answer
