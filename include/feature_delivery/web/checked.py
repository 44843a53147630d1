"""Names inside the values that tasks send: checked at the edge like every name from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from feature_delivery.domain import names

_CHECKS: dict[Any, Callable[[str], str]] = {
    names.BranchName: names.branch_name,
    names.CommitSha: names.commit_sha,
    names.FeatureKey: names.feature_key,
    names.PersonName: names.person_name,
    names.ProjectName: names.project_name,
    names.TreeSha: names.tree_sha,
}

T = TypeVar("T")


def checked(value: T) -> T:
    """Return the dataclass ``value`` after checking every field whose type is a name.

    Raises:
        Refused: One of them is not acceptable.
    """
    kind: Any = type(value)
    for field, check in _named(kind).items():
        found = getattr(value, field)
        for one in found if isinstance(found, tuple) else [found]:
            if one is not None:
                check(one)
    return value


@cache
def _named(kind: type[Any]) -> dict[str, Callable[[str], str]]:
    hints: dict[str, Any] = get_type_hints(kind)
    found = {}
    for field in fields(kind):
        parts = {hints[field.name], *get_args(hints[field.name])}
        check = next((_CHECKS[part] for part in parts if part in _CHECKS), None)
        if check is not None:
            found[field.name] = check
    return found
