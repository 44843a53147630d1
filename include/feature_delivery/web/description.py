"""``/docs``: the app's own description as a page, without a script and without anything from elsewhere.

FastAPI's page loads a program from another server and runs it in Airflow's own origin, with the reader's session.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

router = APIRouter(include_in_schema=False)

_PAGE = Markup(
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"></head><body><h1>{title}</h1><p>{text}</p>'
    '<p><a href="openapi.json">openapi.json</a> has all of it for programs.</p><ul>{contents}</ul>{routes}'
    "</body></html>"
)
_ROUTE = Markup('<h2 id="{id}"><code>{method} {path}</code></h2><p>{text}</p>{parameters}{body}{answers}')
_EXAMPLE = Markup("<p>{name}</p><pre>{example}</pre>")


@router.get("/docs")
def describe(request: Request) -> HTMLResponse:
    """Show every route with its examples of requests, answers and refusals."""
    api: dict[str, Any] = request.app.openapi()
    found = [(path, method, one) for path, methods in api["paths"].items() for method, one in methods.items()]
    contents = Markup("").join(
        Markup('<li><a href="#{}"><code>{} {}</code></a></li>').format(one["operationId"], method.upper(), path)
        for path, method, one in found
    )
    routes = Markup("").join(_route(api, path, method, one) for path, method, one in found)
    info = api["info"]
    return HTMLResponse(_PAGE.format(title=info["title"], text=info["description"], contents=contents, routes=routes))


def _route(api: Mapping[str, Any], path: str, method: str, one: Mapping[str, Any]) -> Markup:
    named = [f"{each['name']} ({each['in']})" for each in one.get("parameters", ())]
    sent = one.get("requestBody", {}).get("content", {})
    answers = [
        Markup("<h3>{} {}</h3>").format(code, said.get("description", ""))
        + _examples(api, said.get("content", {}), "Answer")
        for code, said in one.get("responses", {}).items()
    ]
    return _ROUTE.format(
        id=one["operationId"],
        method=method.upper(),
        path=path,
        text=one.get("description", one.get("summary", "")),
        parameters=Markup("<p>Parameters: {}</p>").format(", ".join(named)) if named else "",
        body=_examples(api, sent, "Body"),
        answers=Markup("").join(answers),
    )


def _examples(api: Mapping[str, Any], content: Mapping[str, Any], name: str) -> Markup:
    shown = (example for said in content.values() for example in _of(api, said))
    return Markup("").join(_EXAMPLE.format(name=name, example=_written(example)) for example in shown)


def _of(api: Mapping[str, Any], said: Mapping[str, Any]) -> Iterator[object]:
    yield from (one["value"] for one in said.get("examples", {}).values())
    if "example" in said:
        yield said["example"]
    reference = str(said.get("schema", {}).get("$ref", "")).rpartition("/")[2]
    yield from api.get("components", {}).get("schemas", {}).get(reference, {}).get("examples", ())


def _written(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
