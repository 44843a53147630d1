"""Write the reference pages of the docs from the code: ``make reference``, and part of ``make fix``.

docs/reference/cli.md comes from the commands' own ``--help``, docs/reference/rest.md from the OpenAPI description.
``tests/integration/test_reference.py`` holds the pages to the code.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from feature_delivery.bootstrap.schemas import schemas
from feature_delivery.bootstrap.variables import table
from feature_delivery.cli.main import app as command_line

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
WRITTEN = "<!-- Written by scripts/reference.py: change the code, then run `make reference`. -->"


def cli_page() -> str:
    """Return the page of the command line."""
    root = typer.main.get_command(command_line)
    assert isinstance(root, TyperGroup)
    context = typer.Context(root, info_name="feature-delivery")
    lines = [
        "# Command line",
        "",
        WRITTEN,
        "",
        "Every command has `--help`. Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 130 and 143 when Ctrl-C",
        "or SIGTERM came before it was done.",
        "",
        "Commands find the instance by `--home`, `FEATURE_DELIVERY_HOME`, or `.feature-delivery` in the directory they",
        "are called in; an installation elsewhere by `FEATURE_DELIVERY_URL` with `FEATURE_DELIVERY_TOKEN`, or with",
        "`FEATURE_DELIVERY_USER` and `FEATURE_DELIVERY_PASSWORD`.",
        "",
    ]
    for name, command in _commands(root, context):
        lines += _command(name, command)
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: TyperGroup, context: typer.Context, before: str = "") -> Iterator[tuple[str, TyperCommand]]:
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from _commands(command, typer.Context(command, info_name=name, parent=context), f"{before}{name} ")
        else:
            assert isinstance(command, TyperCommand)
            yield f"{before}{name}", command


def _command(name: str, command: TyperCommand) -> list[str]:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    needed = [f"{one.opts[0]} {one.metavar or str(one.name).upper()}" for one in options if one.required]
    usage = " ".join([name, *(_argument(one) for one in arguments), *needed])
    lines = [f"## {name}", "", "```", f"feature-delivery {usage}", "```", "", *_prose(command.help or ""), ""]
    rows = [_row(f"`{_argument(one)}`", one.help or "") for one in arguments]
    rows += [_row(_flags(one), _said(one)) for one in options if "--help" not in one.opts]
    return [*lines, *(["| name | what |", "|---|---|", *rows, ""] if rows else [])]


def _prose(help_text: str) -> list[str]:
    """Return a docstring as Markdown: what follows *Example:* is code, marks of the terminal are gone."""
    text = re.sub(r"\[/?[a-z ]+\]", "", help_text.replace("\b", "")).strip()
    prose, mark, example = re.sub(r"[ \t]*\n[ \t]*", "\n", text).partition("Example:")
    lines = [" ".join(part.split("\n")) for part in prose.strip().split("\n\n") if part]
    body = "\n\n".join(_plain(line) for line in lines)
    code = " ".join(example.split())
    return [body, *(["", "```", code, "```"] if mark and code else [])]


def _argument(one: TyperArgument) -> str:
    name = one.metavar or str(one.name).upper()
    return name if one.required else f"[{name}]"


def _flags(option: TyperOption) -> str:
    names = ", ".join(
        sorted([*option.opts, *option.secondary_opts], key=lambda name: (not name.startswith("--"), name))
    )
    value = "" if option.is_flag or option.count else f" {option.metavar or str(option.name).upper()}"
    return f"`{names}{value}`" + (" (needed)" if option.required else "")


def _said(option: TyperOption) -> str:
    said = [option.help or ""]
    if option.envvar:
        said.append(f"Environment: `{option.envvar}`.")
    default = option.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        said.append(f"Default: `{default}`.")
    return " ".join(part for part in said if part)


def _row(name: str, text: str) -> str:
    return f"| {name.replace('|', '&#124;')} | {_plain(' '.join(text.split()))} |"


def _plain(text: str) -> str:
    """Return prose that Markdown shows as it is."""
    return text.replace("<", "&lt;").replace("|", "&#124;").replace("*", "\\*")


def rest_page() -> str:
    """Return the page of the REST interface."""
    # Airflow takes two seconds.
    from feature_delivery.web import errors  # noqa: PLC0415
    from feature_delivery.web.app import create_app  # noqa: PLC0415

    api = create_app().openapi()
    lines = [
        "# REST",
        "",
        WRITTEN,
        "",
        "Below `<Airflow>/feature-delivery`. A running instance has the description for programs (OpenAPI) at",
        "`…/feature-delivery/openapi.json`, and a page to try calls at `…/feature-delivery/docs`. People come in with",
        "Airflow's own token; [Decisions](../decisions.md#rest-and-the-command-line) says how to get one.",
        "",
        'Every refusal has the same shape, `{"error": "Refused", "message": "…"}`; its message is the sentence that',
        "board and command line show, too.",
        "",
        "| answer | means |",
        "|---|---|",
        *(
            f"| {code} | {_plain(one['description'])} |"
            for code, one in errors.problems(401, 403, 404, 409, 413, 415, 429).items()
        ),
        "",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).extend(_route(api, path, method, operation))
    for tag in sorted(by_tag):
        lines += [f"## {tag.capitalize()}", "", *by_tag[tag]]
    return "\n".join(lines).rstrip() + "\n"


def _route(api: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"### {method.upper()} {path}", ""]
    lines += [_plain(" ".join(str(operation.get("description") or operation.get("summary", "")).split())), ""]
    rows = [
        _field(api, one["name"], one["in"], one.get("schema", {}), needed=one.get("required", False), said=one)
        for one in operation.get("parameters", ())
        if one["in"] != "header"
    ]
    body = _body(api, operation)
    rows += [
        _field(api, name, "body", one, needed=name in body.get("required", ()), said=_resolved(api, one))
        for name, one in body.get("properties", {}).items()
    ]
    if rows:
        lines += ["| name | in | what |", "|---|---|---|", *rows, ""]
    if example := next(iter(body.get("examples", ())), None):
        lines += ["```json", json.dumps(example, ensure_ascii=False), "```", ""]
    return lines


def _field(
    api: dict[str, Any], name: str, where: str, schema: dict[str, Any], *, needed: bool, said: dict[str, Any]
) -> str:
    found = _resolved(api, schema)
    of_list = _resolved(api, found.get("items", {}))
    values = found.get("enum") or of_list.get("enum") or ()
    what = [str(said.get("description", "")).rstrip("."), ", ".join(f"`{one}`" for one in values)]
    if not any(what):
        kinds = [_resolved(api, one).get("type", "") for one in found.get("anyOf", ())] or [found.get("type", "")]
        what = [" or ".join(str(kind) for kind in kinds if kind not in {"", "null"})]
    text = ": ".join(part for part in what if part)
    return (
        f"| `{name}` | {where}{', needed' if needed and where != 'path' else ''} | {_plain(' '.join(text.split()))} |"
    )


def _body(api: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return _resolved(api, content.get("schema", {}))


def _resolved(api: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found = schema
    while "$ref" in found:
        found = api["components"]["schemas"][found["$ref"].rpartition("/")[2]]
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def made() -> dict[Path, str]:
    """Return what is made from the models that read settings and files, by its place."""
    root = Path(__file__).resolve().parents[1]
    found = {root / "include" / "projects" / name: text for name, text in schemas().items()}
    return found | {root / "docs" / "settings.md": table()}


def main() -> int:
    """Write both pages, docs/settings.md, and the schemas of project files and of delivery.yaml."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "cli.md").write_text(cli_page(), "utf-8")
    (REFERENCE / "rest.md").write_text(rest_page(), "utf-8")
    for path, text in made().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
