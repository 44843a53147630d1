"""The published description of Forgejo's API (Swagger 2.0): is what was asked and answered as it says?

``not_as_described`` looks at every exchange with a fake: the path, the parameters, the body, the status and the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft4Validator

from tests.fakes.hosts.common import Answer, Call, Exchange

DESCRIPTION = Path(__file__).parents[2] / ".." / "shared" / "specs" / "forgejo.swagger.v1.json"
MISSING = f"{DESCRIPTION.name} is not beside this repository: requests and answers are not compared with it"

UNTOLD = frozenset({"username", "allow_manual_merge", "autodetect_manual_merge", "role_name"})
"""Fields that servers send and the description lacks: an older name of ``login``; settings that newer ones tell."""

REFUSALS = frozenset({401, 403, 404, 405, 412, 422, 423, 429, 500, 502, 503})
"""What every route may answer, whether the description says so or not."""


@cache
def description() -> dict[str, Any]:
    """Return the description; only where it is there."""
    found: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    return found


def not_as_described(exchanges: Iterable[Exchange], *, root: str = "") -> list[str]:
    """Return what is not as the description says, one sentence each; ``root``: the sub path of the server."""
    faults: list[str] = []
    for exchange in exchanges:
        call = exchange.call
        found = re.match(re.escape(root) + r"/api/v1(/.*)", call.path)
        operation = _operation(call.method, found[1]) if found else None
        where = f"{call.method} {call.path}"
        if operation is None:
            faults.append(f"{where}: there is no such route")
            continue
        faults += [f"{where}: {fault}" for fault in _of_call(operation, call)]
        faults += [f"{where}: {fault}" for fault in _of_answer(operation, exchange.answer)]
    return faults


def _operation(method: str, path: str) -> dict[str, Any] | None:
    """Return the route of a path: the one with the fewest parameters that fits."""
    fits = []
    for template, methods in description()["paths"].items():
        if method.lower() not in methods:
            continue
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
        if match := re.fullmatch(pattern, path):
            operation = methods[method.lower()]
            if all(_right_type(operation, name, unquote(value)) for name, value in match.groupdict().items()):
                fits.append((template.count("{"), operation))
    return min(fits, key=lambda one: one[0])[1] if fits else None


def _right_type(operation: dict[str, Any], name: str, value: str) -> bool:
    for one in operation.get("parameters", []):
        if one["name"] == name and one["in"] == "path":
            return one["type"] != "integer" or value.isdigit()
    return True


def _of_call(operation: dict[str, Any], call: Call) -> list[str]:
    known = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
    faults = []
    # Every listing takes these two from us; one that knows no pages does not mind.
    for name, values in call.query.items():
        if name in {"page", "limit"}:
            faults += [f"{name}={value} is no number" for value in values if not value.isdigit()]
        elif name not in known:
            faults.append(f"the parameter {name!r} is not known")
        elif "enum" in known[name]:
            faults += [f"{name}={value} is not known" for value in values if value not in known[name]["enum"]]
    body = next((one for one in operation.get("parameters", []) if one["in"] == "body"), None)
    if call.body and body is None:
        return [*faults, "it takes no body"]
    if call.body and body:
        faults += _against(body["schema"], json.loads(call.body))
    return faults


def _of_answer(operation: dict[str, Any], answer: Answer) -> list[str]:
    response = operation["responses"].get(str(answer.status))
    if response is None:
        return [] if answer.status in REFUSALS else [f"the status {answer.status} is not known"]
    if "$ref" in response:
        response = description()["responses"][response["$ref"].rpartition("/")[2]]
    schema = response.get("schema")
    if schema is None or isinstance(answer.body, bytes):
        return []
    if answer.body is None:
        return [] if answer.status >= 400 else [f"the answer {answer.status} has no body"]
    return _against(schema, _told(answer.body))


def _told(value: Any) -> Any:
    """Return a value without nulls: Swagger 2 has no word for them, and the server sends many."""
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items() if one is not None}
    return [_told(one) for one in value] if isinstance(value, list) else value


def _against(schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "definitions": description()["definitions"]}
    faults = [f"{list(one.absolute_path)}: {one.message[:200]}" for one in Draft4Validator(whole).iter_errors(value)]
    return faults + [f"the field {name} is not known" for name in _unknown(schema, value, "")]


def _unknown(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    """Return the fields that the description does not name, wherever they are."""
    if "$ref" in schema:
        schema = description()["definitions"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        return [fault for one in value for fault in _unknown(schema.get("items", {}), one, f"{where}[]")]
    properties = schema.get("properties")
    if not isinstance(value, dict) or properties is None:
        return []
    faults = [f"{where}.{name}" for name in value if name not in properties and name not in UNTOLD]
    for name, one in value.items():
        faults += _unknown(properties.get(name, {}), one, f"{where}.{name}")
    return faults
