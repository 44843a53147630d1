"""The description of the people's API: every decision route has examples, and every example is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from feature_delivery.web.app import create_app

DECIDING = {
    "/projects/{project}/features": "post",
    "/projects/{project}/features/{key}/decisions": "post",
    "/projects/{project}/features/{key}/override": "post",
    "/projects/{project}/features/{key}/cancel": "post",
    "/projects/{project}/lock/break": "post",
    "/projects/{project}/adopt": "post",
    "/projects/{project}/audit": "get",
}


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return create_app().openapi()


def resolved(api: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with the components it may name."""
    return {**schema, "components": api["components"]}


def named(api: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference stands for."""
    found = schema
    while "$ref" in found:
        found = api["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    return found


def examples(api: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    """Return the examples of a body: its own, else those of its schema."""
    own = [one["value"] for one in content.get("examples", {}).values()]
    own += [content["example"]] if "example" in content else []
    return own or list(named(api, content.get("schema", {})).get("examples", ()))


def bodies(api: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, method in DECIDING.items():
        operation = api["paths"][path][method]
        if "requestBody" in operation:
            yield f"{path} request", operation["requestBody"]["content"]["application/json"]
        for code, response in operation["responses"].items():
            yield f"{path} {code}", response["content"]["application/json"]


def test_every_decision_route_shows_what_to_send_and_what_comes_back(api: dict[str, Any]) -> None:
    shown = {name: examples(api, content) for name, content in bodies(api)}
    wanted = {f"{path} request" for path, method in DECIDING.items() if method == "post"}
    wanted |= {f"{path} {'201' if path.endswith('/features') else '200'}" for path in DECIDING}
    wanted |= {f"{path} {code}" for path in DECIDING for code in (401, 403, 404, 422)}
    assert {name for name in wanted if not shown.get(name)} == set()


def test_every_example_is_valid_for_its_schema(api: dict[str, Any]) -> None:
    checked = 0
    for name, content in bodies(api):
        for example in examples(api, content):
            jsonschema.validate(example, resolved(api, content["schema"]), jsonschema.Draft202012Validator)
            checked += 1
        assert checked, name
    assert checked > 30


def test_an_example_that_is_wrong_would_be_found(api: dict[str, Any]) -> None:
    schema = resolved(api, {"$ref": "#/components/schemas/DecisionBody"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"gate": "review", "kind": "perhaps"}, schema, jsonschema.Draft202012Validator)


def test_refusals_have_one_shape_with_the_kind_that_belongs_to_the_code(api: dict[str, Any]) -> None:
    kinds = {"401": "Unauthorized", "403": "Refused", "404": "NotFound", "409": "Conflict"}
    for name, content in bodies(api):
        for example in examples(api, content):
            code = name.rpartition(" ")[2]
            if code in kinds:
                assert example["error"] == kinds[code], name
            if code.isdigit() and int(code) >= 400:
                assert example["message"].endswith("."), name


def test_people_come_in_with_airflows_own_token(api: dict[str, Any]) -> None:
    schemes = api["components"]["securitySchemes"]
    for path, method in DECIDING.items():
        names = {name for one in api["paths"][path][method].get("security", ()) for name in one}
        assert names, f"{path} does not say how to log in"
        assert all(schemes[name]["type"] in {"http", "oauth2"} for name in names)
