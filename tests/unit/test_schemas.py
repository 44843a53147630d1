"""The JSON Schemas that editors use: what is right passes them, what is wrong in its shape does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from feature_delivery.bootstrap.project_file import parse_project, project_faults
from feature_delivery.bootstrap.schemas import DELIVERY, PROJECT, schema_line, schemas
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.team import why_stuck
from feature_delivery.services.delivery_file import read_delivery_file
from feature_delivery.services.delivery_template import first_file
from tests.support import shop_project, web_app
from tests.support.command_line import Command
from tests.unit import test_project_cluster, test_project_file

ROOT = Path(__file__).parents[2]
SCHEMAS = {name: json.loads(text) for name, text in schemas().items()}
WORDS = {"@REPOSITORY@": "/srv/shop.git", "{repository}": "/srv/shop.git", "{{": "{", "}}": "}"}


def plain(text: str) -> str:
    for word, value in WORDS.items():
        text = text.replace(word, value)
    return text


def documented(needed: str) -> dict[str, str]:
    """Return the YAML blocks of the docs that are whole files."""
    found = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)):
            if re.search(needed, block, re.MULTILINE) and "…" not in block:
                found[f"{path.name}:{number}"] = block
    return found


PROJECTS = {
    "the demo's": plain((ROOT / "include" / "projects" / "demo_store.yaml").read_text("utf-8")),
    "small": test_project_file.GOOD,
    "with freezes": test_project_file.GOOD + test_project_file.FROZEN,
    "on a cluster": test_project_cluster.HEAD + test_project_cluster.SMALL,
    "on a cluster, whole": test_project_cluster.HEAD + test_project_cluster.WHOLE,
    "of the tests": shop_project.project_text(),
    "of the web tests": plain(web_app.PROJECT_FILE),
    **documented(r"^name: (?=.*\n(?:.*\n)*people:)"),
}
DELIVERIES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (
        ROOT / "include" / "demo_store" / "delivery.yaml",
        ROOT / "benchmarks" / "shop" / "delivery.yaml",
        ROOT / "benchmarks" / "oscar_shop" / "delivery.yaml",
    )
}


def valid(name: str, text: str) -> Any:
    return jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("text", PROJECTS.values(), ids=PROJECTS)
def test_a_project_file_that_is_right_passes(text: str) -> None:
    assert why_stuck(parse_project(text, where="x.yaml").people) == ""
    jsonschema.validate(yaml.safe_load(text), SCHEMAS[PROJECT], jsonschema.Draft202012Validator)


@pytest.mark.parametrize("text", DELIVERIES.values(), ids=DELIVERIES)
def test_a_delivery_file_that_is_right_passes(text: str) -> None:
    read_delivery_file(text.encode(), where="x.yaml")
    jsonschema.validate(yaml.safe_load(text), SCHEMAS[DELIVERY], jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "change",
    [
        ("roles: [reviewer]", "roles: [boss]"),
        ("timeout: 4h", "timeout: soon"),
        ("review: {", "review: {count: 0, "),
        ("repository: /srv/shop.git", ""),
        ("repository:", "repositry: x\nrepository:"),
        ("observe_for: 30s", "observe_for: [30]"),
        ("people:", "platform: cloud\npeople:"),
        ("people:", "tracker: {kind: paper}\npeople:"),
    ],
)
def test_a_project_file_of_a_wrong_shape_passes_neither(change: tuple[str, str]) -> None:
    text = test_project_file.GOOD.replace(*change)
    assert text != test_project_file.GOOD
    with pytest.raises(Misconfigured):
        parse_project(text, where="x.yaml")
    assert not valid(PROJECT, text)


@pytest.mark.parametrize(
    "change",
    [
        ("version: 1", "version: 2"),
        ("start:", "strat:"),
        ("timeout: 30s", "timeout: soon"),
        ("reversible: true", "reversible: perhaps"),
        ("  path: /healthz", "  pth: /healthz"),
    ],
)
def test_a_delivery_file_of_a_wrong_shape_passes_neither(change: tuple[str, str]) -> None:
    good = DELIVERIES["include/demo_store/delivery.yaml"]
    text = good.replace(*change, 1)
    assert text != good
    with pytest.raises(Misconfigured):
        read_delivery_file(text.encode(), where="x.yaml")
    assert not valid(DELIVERY, text)


def test_every_fault_is_listed_with_its_line_and_what_to_do(tmp_path: Path) -> None:
    text = test_project_file.GOOD.replace("name: shop", "nme: shop").replace("timeout: 4h", "timeout: soon")
    (tmp_path / "shop.yaml").write_text(text.replace("tom: {roles: [tester]", "tom: {role: [tester]"))
    assert project_faults(tmp_path / "shop.yaml") == [
        "Field 'nme' (line 2): it is not known here. Is 'name' meant?",
        "Field 'name' (line 2): it is missing. Add it.",
        "Field 'people.tom.role' (line 7): it is not known here. Is 'roles' meant?",
        "Field 'people.tom.roles' (line 7): it is missing. Add it.",
        "Field 'gates.review.timeout' (line 10): write a duration like 30s, 10m, 4h or 14d.",
    ]


def blocks() -> list[tuple[str, str]]:
    """Return every YAML block of the docs that holds something, with its page and place."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", block)
        for path in [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text("utf-8"), re.DOTALL), 1)
        if yaml.safe_load(block) is not None
    ]


# What a part of a file is put into, to be one.
WHOLE = {
    PROJECT: {"name": "shop", "repository": "/srv/shop.git", "people": {"ann": {"roles": ["manager"]}}},
    DELIVERY: yaml.safe_load(DELIVERIES["include/demo_store/delivery.yaml"]),
}
ON_CLUSTER = yaml.safe_load("{kind: kubernetes, image: 'shop:{commit}', production: {namespace: shop}}")
OTHERS = {"docs/slack.md:1": "the app's manifest in Slack", "docs/helm.md:1": "values of the chart"}


@pytest.mark.parametrize(("where", "block"), blocks())
def test_every_example_of_the_docs_is_what_a_schema_says(where: str, block: str) -> None:
    """Each is a whole file, or parts of one, or parts of a project file's ``platform``."""
    if where in OTHERS:
        return
    parts = yaml.safe_load(block)
    name = next((name for name, schema in SCHEMAS.items() if set(parts) <= set(schema["properties"])), None)
    if name is None:
        name, parts = PROJECT, {"platform": {**ON_CLUSTER, **parts}}
    jsonschema.validate({**WHOLE[name], **parts}, SCHEMAS[name], jsonschema.Draft202012Validator)
    says = block.startswith(schema_line(name))
    assert says == (set(SCHEMAS[name]["required"]) <= set(parts)), (
        f"{where}: a whole file names its schema, for editors"
    )


@pytest.mark.parametrize("where", OTHERS)
def test_what_is_no_file_of_ours_is_still_there(where: str) -> None:
    assert where in dict(blocks()), f"{where} has moved: correct OTHERS"


def test_what_init_writes_names_its_schema_and_has_it_beside(tmp_path: Path, command: Command) -> None:
    (tmp_path / "Makefile").write_text("start:\n\ttrue\n")
    assert command("init", tmp_path).code == 0
    text = (tmp_path / "delivery.yaml").read_text("utf-8")
    assert text == schema_line(DELIVERY) + first_file(tmp_path).text
    assert json.loads((tmp_path / DELIVERY).read_text("utf-8")) == SCHEMAS[DELIVERY]
    assert valid(DELIVERY, text)
    assert json.loads(command("schema", "project").out) == SCHEMAS[PROJECT]
    assert command("schema", "shop").code == 2
