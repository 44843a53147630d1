"""The API server: requests with time limits, answers as JSON, every failure as one of our errors.

The official client does what it does best: credentials, certificates, proxies, contexts. Its models are left alone: we
send and read JSON, so that a field that is newer than the client's own version of the API is neither lost nor refused.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from feature_delivery.adapters.platforms.kubernetes.failures import GoneError, translated, unreachable
from feature_delivery.adapters.platforms.kubernetes.names import MANAGER
from feature_delivery.adapters.platforms.kubernetes.resources import POD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from kubernetes.client import ApiClient

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest, Resource

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
PAGE = 500
LOG_LIMIT_BYTES = 1 << 16
"""A line has no limit of its own."""

_LIST_TRIES = 3


class Cluster:
    """One API server, spoken to with the rights of one Connection."""

    def __init__(self, client: ApiClient, *, timeout: timedelta, name: str) -> None:
        """``name``: what the cluster is called in sentences, its Connection's id."""
        self.name = name
        self._client = client
        self._timeout = timeout.total_seconds()

    def get(self, resource: Resource, name: str, *, namespace: str = "") -> Manifest | None:
        """Return one object, or ``None`` when there is none."""
        return self.request("GET", resource.path(namespace, name), missing_ok=True)

    def list(self, resource: Resource, *, namespace: str = "", labels: str = "", fields: str = "") -> list[Manifest]:
        """Return every object of a kind, page by page; a listing that expires between two pages begins anew."""
        for last in (*([False] * (_LIST_TRIES - 1)), True):
            try:
                return list(self._pages(resource.path(namespace), labels=labels, fields=fields))
            except GoneError:
                if last:
                    raise
        raise AssertionError

    def create(self, resource: Resource, manifest: Manifest, *, namespace: str = "", manager: str = "") -> Manifest:
        """Create an object.

        Raises:
            Conflict: There is one of that name.
        """
        query = {"fieldManager": manager} if manager else {}
        return self._sure(self.request("POST", resource.path(namespace), query=query, body=manifest))

    def replace(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Write an object back as it is; its ``resourceVersion`` says which one was read.

        Raises:
            Conflict: Somebody has written meanwhile.
        """
        meta = manifest["metadata"]
        path = resource.path(meta.get("namespace", ""), meta["name"])
        return self._sure(self.request("PUT", path, body=manifest))

    def patch(
        self, resource: Resource, name: str, body: object, *, namespace: str, content: str, query: Mapping[str, str]
    ) -> Manifest:
        """Patch an object; ``content`` says which kind of patch ``body`` is."""
        path = resource.path(namespace, name)
        return self._sure(self.request("PATCH", path, query=query, body=body, content=content))

    def delete(
        self, resource: Resource, name: str, *, namespace: str = "", preconditions: Mapping[str, str] | None = None
    ) -> None:
        """Delete an object and what belongs to it; gone already is done.

        Raises:
            Conflict: It is not the one that ``preconditions`` name.
        """
        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if preconditions:
            body["preconditions"] = dict(preconditions)
        self.request("DELETE", resource.path(namespace, name), body=body, missing_ok=True)

    def log(self, namespace: str, pod: str, *, container: str, tail: int = 0, previous: bool = False) -> str:
        """Return what a container has written: its last ``tail`` lines, and not more of them than fits into a sentence.

        The bytes are decoded here: version 36.0.3 of the client returns the text ``b'…'`` when it is left to it.
        """
        query: dict[str, str] = {"container": container, "limitBytes": str(LOG_LIMIT_BYTES)}
        query |= {"tailLines": str(tail)} if tail else {}
        query |= {"previous": "true"} if previous else {}
        with self._opened("GET", _log_path(namespace, pod), query=query) as answer:
            return bytes(answer.data).decode("utf-8", "replace")

    def timed_log(
        self, namespace: str, pod: str, *, container: str, since: str = "", follow_for: timedelta | None = None
    ) -> Iterator[bytes]:
        """Yield what a container has written, piece by piece, with the time before each line.

        Args:
            namespace: Of the pod.
            pod: Its name.
            container: Its container.
            since: Leave out what was written before that second.
            follow_for: Go on until the container ends, or has said nothing for so long.
        """
        query = {"container": container, "timestamps": "true"}
        query |= {"sinceTime": since} if since else {}
        query |= {"follow": "true"} if follow_for else {}
        seconds = follow_for.total_seconds() if follow_for else self._timeout
        with self._opened("GET", _log_path(namespace, pod), query=query, read_seconds=seconds) as answer:
            yield from answer.stream(1 << 16, decode_content=True)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = JSON,
        missing_ok: bool = False,
    ) -> Manifest | None:
        """Do one request; ``None`` when what it names is not there and may be so.

        Raises:
            Error: As ``failures.translated`` says.
        """
        with self._opened(method, path, query=query, body=body, content=content, missing_ok=missing_ok) as answer:
            if answer is None:
                return None
            try:
                found = json.loads(answer.data)
            except ValueError as error:
                raise unreachable(self.name, method, path, "its answer is no JSON") from error
        return found if isinstance(found, dict) else {"items": found}

    def _pages(self, path: str, *, labels: str, fields: str) -> Iterator[Manifest]:
        query = {"limit": str(PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        while True:
            page = self._sure(self.request("GET", path, query=query))
            yield from page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            query["continue"] = following

    def _sure(self, answer: Manifest | None) -> Manifest:
        assert answer is not None, "only what may be missing is"
        return answer

    @contextmanager
    def _opened(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = JSON,
        missing_ok: bool = False,
        read_seconds: float | None = None,
    ) -> Iterator[Any]:
        """Give the answer unread; whatever goes wrong while it is read is translated too.

        Nothing is repeated here: whether trying again is safe is known to those who ask.
        """
        answer = None
        headers = {"Accept": JSON, "User-Agent": MANAGER, **({"Content-Type": content} if body is not None else {})}
        try:
            self._client.update_params_for_auth(headers, [], ["BearerToken"])
            answer = self._client.rest_client.pool_manager.request(
                method,
                self._client.configuration.host + path + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=self._timeout, read=read_seconds or self._timeout),
                preload_content=False,
                retries=False,
            )
            if answer.status == 404 and missing_ok:
                yield None
            elif answer.status >= 300:
                raise translated(self.name, method, path, answer)
            else:
                yield answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(self.name, method, path, type(error).__name__) from error
        finally:
            if answer is not None:
                # A log that is left before its end would keep its connection busy; any other one is used again.
                if read_seconds is not None:
                    answer.close()
                answer.release_conn()


def _log_path(namespace: str, pod: str) -> str:
    return f"{POD.path(namespace, pod)}/log"
