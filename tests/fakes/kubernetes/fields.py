"""Server-side apply: who owns which field, what a new apply removes, which values conflict.

The rules of structured-merge-diff for the objects that deliveries write: maps are merged, the lists below by their
keys, every other list is one value.
"""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]
Path = tuple[Any, ...]

KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "conditions": ("type",),
}
_FOUND_BY = {"name", "mountPath", "type", "containerPort", "port", "protocol"}
NOT_OWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
SYSTEM = {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"}


class FieldConflictError(Exception):
    """Another manager owns fields with other values."""


def _key(name: str, item: Any) -> Any:
    if name == "ports" and isinstance(item, dict):
        number = item.get("containerPort", item.get("port"))
        return ("ports", number, item.get("protocol", "TCP"))
    if name in KEYS and isinstance(item, dict):
        return (name, *(item.get(part) for part in KEYS[name]))
    return None


def paths(value: Any, at: Path = ()) -> dict[Path, Any]:
    """Return every leaf of an object: its path and its value."""
    if isinstance(value, dict) and value:
        found: dict[Path, Any] = {}
        for name, inner in value.items():
            if at == ("metadata",) and name in SYSTEM:
                continue
            found |= paths(inner, (*at, name))
        return found
    if isinstance(value, list) and value and at and isinstance(at[-1], str) and _key(at[-1], value[0]) is not None:
        found = {}
        for item in value:
            found |= paths(item, (*at, _key(at[-1], item)))
        return found
    return {} if at in NOT_OWNED else {at: value}


def merged(live: Any, wanted: Any, name: str = "") -> Any:
    """Return ``live`` with everything that ``wanted`` says."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        made = dict(live)
        for field, value in wanted.items():
            made[field] = merged(live.get(field), value, field)
        return made
    if isinstance(live, list) and isinstance(wanted, list) and wanted and _key(name, wanted[0]) is not None:
        known = {_key(name, item): item for item in live}
        made_list = {**known, **{_key(name, item): merged(known.get(_key(name, item)), item) for item in wanted}}
        return list(made_list.values())
    return copy.deepcopy(wanted)


def without(live: Any, path: Path) -> Any:
    """Return ``live`` without the leaf at ``path``, and without what is empty then."""
    first, rest = path[0], path[1:]
    if isinstance(live, dict):
        if first not in live:
            return live
        if not rest:
            return {field: value for field, value in live.items() if field != first}
        inner = without(live[first], rest)
        if inner in ({}, []):
            return {field: value for field, value in live.items() if field != first}
        return {**live, first: inner}
    if isinstance(live, list) and isinstance(first, tuple):
        kept = []
        for item in live:
            left = item
            if _key(first[0], item) == first:
                names = {"containerPort", "port", "protocol"} if first[0] == "ports" else set(KEYS[first[0]])
                if rest and rest[0] in names:
                    # What an item is found by goes with the item, once nobody owns anything else of it.
                    left = None if set(item) <= names else item
                else:
                    left = without(item, rest) if rest else None
            if left not in ({}, None):
                kept.append(left)
        return kept
    return live


def _encoded(owned: set[Path]) -> list[str]:
    return sorted(map(repr, owned))


def apply(live: Object, config: Object, *, manager: str, force: bool) -> Object:
    """Return ``live`` after an apply by ``manager``; its ``managedFields`` say who owns what."""
    entries = [dict(entry) for entry in live["metadata"].get("managedFields") or []]
    wanted = paths(config)
    names = {repr(path): path for path in {**paths(live), **wanted}}
    present = {repr(path): value for path, value in paths(live).items()}
    for entry in entries:
        if (entry["manager"], entry["operation"]) == (manager, "Apply"):
            continue
        owned = set(entry["fieldsV1"]["paths"])
        clash = {repr(p) for p, value in wanted.items() if repr(p) in owned and present.get(repr(p)) != value}
        if clash and not force:
            raise FieldConflictError(f"conflict with {entry['manager']!r}: {', '.join(sorted(clash)[:3])}")
        entry["fieldsV1"] = {"paths": sorted(owned - clash)}
    others = {
        p for e in entries if (e["manager"], e["operation"]) != (manager, "Apply") for p in e["fieldsV1"]["paths"]
    }
    before = {
        p for e in entries if (e["manager"], e["operation"]) == (manager, "Apply") for p in e["fieldsV1"]["paths"]
    }
    made: Object = live
    gone = [names[text] for text in before - {repr(path) for path in wanted} - others if text in names]
    for path in sorted(gone, key=lambda path: path[-1] in _FOUND_BY):
        made = without(made, path)
    made = merged(made, config)
    kept = [e for e in entries if (e["manager"], e["operation"]) != (manager, "Apply") and e["fieldsV1"]["paths"]]
    kept.append({"manager": manager, "operation": "Apply", "fieldsV1": {"paths": _encoded(set(wanted))}})
    made["metadata"] = {**made["metadata"], "managedFields": kept}
    return made


def updated(before: Object | None, after: Object, *, manager: str) -> list[Object]:
    """Return the ``managedFields`` after an update: what has changed belongs to who changed it."""
    known = [dict(entry) for entry in ((before or {}).get("metadata") or {}).get("managedFields") or []]
    old = {repr(path): value for path, value in paths(before or {}).items()}
    new = {repr(path): value for path, value in paths(after).items()}
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    for entry in known:
        mine = (entry["manager"], entry["operation"]) == (manager, "Update")
        owned = (set(entry["fieldsV1"]["paths"]) | changed) if mine else (set(entry["fieldsV1"]["paths"]) - changed)
        entry["fieldsV1"] = {"paths": sorted(owned & set(new))}
    if changed and not any((e["manager"], e["operation"]) == (manager, "Update") for e in known):
        known.append({"manager": manager, "operation": "Update", "fieldsV1": {"paths": sorted(changed)}})
    return [entry for entry in known if entry["fieldsV1"]["paths"]]
