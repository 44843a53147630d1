"""The reference pages of the docs say what the code says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import picture, reference


@pytest.mark.parametrize(("name", "page"), [("cli.md", reference.cli_page), ("rest.md", reference.rest_page)])
def test_the_reference_is_what_the_code_says(name: str, page: Callable[[], str]) -> None:
    written = (Path(reference.REFERENCE) / name).read_text("utf-8")
    assert written == page(), f"docs/reference/{name} is not up to date: run 'make reference' and commit it."


@pytest.mark.parametrize("language", picture.FILES)
def test_the_picture_is_that_of_the_process(language: str) -> None:
    written = (picture.IMAGES / picture.FILES[language]).read_text("utf-8")
    assert written == picture.picture(language), "the process has changed: run 'make reference' and commit the picture"


def test_every_command_and_every_route_is_there() -> None:
    """The pages are made from lists of the same frameworks: what those hide on purpose, and only that, is missing."""
    commands, routes = (reference.REFERENCE / "cli.md").read_text("utf-8"), reference.rest_page()
    for command in ("init", "up", "approve", "rollback", "webhooks replay", "doctor"):
        assert f"\n## {command}\n" in commands
    for route in ("POST /projects/{project}/features/{key}/decisions", "GET /projects/{project}/audit", "GET /metrics"):
        assert f"### {route}\n" in routes
