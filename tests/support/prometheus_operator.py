"""The Prometheus operator's own schemas of its objects, where they are given."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CRDS_VARIABLE = "FEATURE_DELIVERY_TEST_OPERATOR_CRDS"


def needs_schemas() -> None:
    """Skip where nobody has given the schemas."""
    if not os.environ.get(CRDS_VARIABLE):
        pytest.skip(f"No schemas are given: {CRDS_VARIABLE} names a folder with the operator's CRDs, one file each.")


def validate(found: dict[str, Any]) -> None:
    """Fail where the operator would not take an object, or would drop a part of it in silence."""
    version = found["apiVersion"].rpartition("/")[2]
    jsonschema.Draft7Validator(_schemas()[found["kind"], version]).validate(found)


@cache
def _schemas() -> dict[tuple[str, str], dict[str, Any]]:
    folder = Path(os.environ[CRDS_VARIABLE])
    return {
        (crd["spec"]["names"]["kind"], version["name"]): _closed(version["schema"]["openAPIV3Schema"], top=True)
        for file in sorted(folder.glob("*.yaml"))
        for crd in (yaml.safe_load(file.read_text("utf-8")),)
        for version in crd["spec"]["versions"]
    }


def _closed(schema: Any, *, top: bool = False) -> Any:
    """Return a schema that takes no unknown field: Kubernetes drops those and says nothing."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if top:
        # Kubernetes itself knows it.
        made["properties"]["metadata"] = {"type": "object"}
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made
