"""Objects, their versions, and the history that watches read."""

from __future__ import annotations

import copy
import re
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kubernetes import fields

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Resource (plural), namespace, name."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL_NAME = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


class StatusError(Exception):
    """What the API server answers instead of an object."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details


@dataclass
class Change:
    version: int
    kind: str
    key: Key
    object: Object


@dataclass
class Store:
    """Every object; ``lock`` guards all of it, its condition is notified of each change."""

    objects: dict[Key, Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    compacted: int = 0
    version: int = 1
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    lock: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def get(self, key: Key) -> Object:
        with self.lock:
            found = self.objects.get(key)
            if found is None:
                raise StatusError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
            return copy.deepcopy(found)

    def list(self, resource: str, namespace: str) -> list[Object]:
        with self.lock:
            return [
                copy.deepcopy(found)
                for (kind, place, _), found in sorted(self.objects.items())
                if kind == resource and namespace in ("", place)
            ]

    def create(self, resource: str, namespace: str, body: Object, *, manager: str) -> Object:
        with self.lock:
            key = (resource, namespace, str((body.get("metadata") or {}).get("name", "")))
            self._admit(key, body, creating=True)
            if key in self.objects:
                raise StatusError(409, "AlreadyExists", f'{resource} "{key[2]}" already exists')
            made = copy.deepcopy(body)
            meta = made["metadata"]
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(), "generation": 1}
            meta |= {"namespace": namespace} if namespace else {}
            meta.pop("resourceVersion", None)
            meta["managedFields"] = fields.updated(None, made, manager=manager)
            if resource == "namespaces":
                made["status"] = {"phase": "Active"}
            return self._put("ADDED", key, made)

    def replace(self, key: Key, body: Object, *, manager: str) -> Object:
        with self.lock:
            live = self.get(key)
            self._admit(key, body, creating=False)
            self._same(key, live, (body.get("metadata") or {}).get("resourceVersion"))
            made = {**copy.deepcopy(body)}
            made["metadata"] = {
                **{name: live["metadata"][name] for name in ("uid", "creationTimestamp", "generation")},
                **made["metadata"],
            }
            made["metadata"]["managedFields"] = fields.updated(live, made, manager=manager)
            if "status" in live:
                made["status"] = live["status"]
            return self._changed(key, live, made)

    def apply(self, key: Key, body: Object, *, manager: str, force: bool) -> tuple[Object, bool]:
        with self.lock:
            if key not in self.objects:
                if (body.get("metadata") or {}).get("resourceVersion"):
                    raise StatusError(409, "Conflict", f'{key[0]} "{key[2]}" does not exist, so it has no version')
                self.create(key[0], key[1], {**body, "metadata": {**body["metadata"]}}, manager="apply")
                self.objects[key]["metadata"]["managedFields"] = []
            live = self.get(key)
            self._admit(key, body, creating=False)
            self._same(key, live, (body.get("metadata") or {}).get("resourceVersion"))
            try:
                made = fields.apply(live, body, manager=manager, force=force)
            except fields.FieldConflictError as error:
                raise StatusError(409, "Conflict", f"Apply failed: {error}") from error
            made["metadata"] |= {name: live["metadata"][name] for name in ("uid", "creationTimestamp", "generation")}
            return self._changed(key, live, made), False

    def patch_json(self, key: Key, operations: Sequence[Object]) -> Object:
        with self.lock:
            live = self.get(key)
            made = copy.deepcopy(live)
            for one in operations:
                if one["path"] == "/metadata/resourceVersion":
                    self._same(key, live, one["value"])
                    continue
                *way, last = one["path"].strip("/").split("/")
                place: Any = made
                for part in way:
                    place = place[int(part) if isinstance(place, list) else part]
                if one["op"] == "remove":
                    del place[int(last) if isinstance(place, list) else last]
                else:
                    place[int(last) if isinstance(place, list) else last] = one["value"]
            return self._changed(key, live, made)

    def patch_merge(self, key: Key, body: Object) -> Object:
        with self.lock:
            live = self.get(key)
            made = _merge(live, body)
            made["metadata"]["managedFields"] = fields.updated(live, made, manager="merge")
            return self._changed(key, live, made)

    def set_status(self, key: Key, status: Object) -> None:
        """What controllers do; an object that is gone is none of their business any more."""
        with self.lock:
            live = self.objects.get(key)
            if live is not None and live.get("status") != status:
                self._put("MODIFIED", key, {**copy.deepcopy(live), "status": copy.deepcopy(status)})

    def delete(self, key: Key, preconditions: Object | None = None) -> Object:
        with self.lock:
            live = self.get(key)
            for name, value in (preconditions or {}).items():
                if live["metadata"].get(name) != value:
                    raise StatusError(409, "Conflict", f"Precondition failed: {name} in precondition: {value}")
            if key[0] == "namespaces" or live["metadata"].get("finalizers"):
                if not live["metadata"].get("deletionTimestamp"):
                    made = copy.deepcopy(live)
                    made["metadata"]["deletionTimestamp"] = stamp()
                    if key[0] == "namespaces":
                        made["status"] = {**(made.get("status") or {}), "phase": "Terminating"}
                    return self._put("MODIFIED", key, made)
                return live
            return self.remove(key)

    def remove(self, key: Key) -> Object:
        """Remove an object at once, whatever it waits for."""
        with self.lock:
            live = self.objects.pop(key, None)
            if live is None:
                return {}
            self.version += 1
            self._tell(Change(self.version, "DELETED", key, live))
            return live

    def compact(self) -> None:
        """Forget the history: watches and pages of before have expired."""
        with self.lock:
            self.compacted = self.version
            self.lock.notify_all()

    def _admit(self, key: Key, body: Object, *, creating: bool) -> None:
        resource, namespace, name = key
        meta = body.get("metadata") or {}
        if not _NAME.fullmatch(name) or (resource == "namespaces" and (len(name) > 63 or "." in name)):
            raise StatusError(422, "Invalid", f'{resource} "{name}" is invalid: metadata.name: not a DNS label')
        if meta.get("namespace", namespace) != namespace:
            raise StatusError(400, "BadRequest", "the namespace of the provided object does not match the request")
        for label, value in (meta.get("labels") or {}).items():
            if not _LABEL_NAME.fullmatch(label) or not isinstance(value, str) or not _LABEL.fullmatch(value):
                raise StatusError(422, "Invalid", f"metadata.labels: Invalid value: {label!r}: {value!r}")
        for label, value in (meta.get("annotations") or {}).items():
            if not _LABEL_NAME.fullmatch(label) or not isinstance(value, str):
                raise StatusError(422, "Invalid", f"metadata.annotations: Invalid value: {label!r}")
        if not namespace:
            return
        home = self.objects.get(("namespaces", "", namespace))
        if home is None and creating:
            raise StatusError(404, "NotFound", f'namespaces "{namespace}" not found')
        if creating and home is not None and home["metadata"].get("deletionTimestamp"):
            message = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise StatusError(403, "Forbidden", message, causes=[{"reason": "NamespaceTerminating"}])

    def _same(self, key: Key, live: Object, version: str | None) -> None:
        if version and version != live["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {key[0]} "{key[2]}": the object has been modified'
            raise StatusError(409, "Conflict", message)

    def _changed(self, key: Key, live: Object, made: Object) -> Object:
        same = {**made, "metadata": {**made["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}
        if same == live:
            return live
        if key[0] in {"deployments", "statefulsets"} and live["spec"].get("selector") != made["spec"].get("selector"):
            raise StatusError(422, "Invalid", "spec.selector: Invalid value: field is immutable")
        # As the real one has it: annotations of a Deployment count, too.
        notes = [one["metadata"].get("annotations") for one in (made, live) if key[0] == "deployments"]
        if made.get("spec") != live.get("spec") or notes[:1] != notes[1:]:
            made["metadata"]["generation"] = live["metadata"]["generation"] + 1
        return self._put("MODIFIED", key, made)

    def _put(self, kind: str, key: Key, made: Object) -> Object:
        self.version += 1
        made["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = made
        self._tell(Change(self.version, kind, key, copy.deepcopy(made)))
        return copy.deepcopy(made)

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        self.lock.notify_all()
        for listener in self.listeners:
            listener(change)


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _merge(live: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = _merge(made.get(name), value)
    return made
