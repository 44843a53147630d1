"""The page of symptoms quotes what people really see."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import feature_delivery

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^> (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
"""Sentences as people see them; an ellipsis stands for what differs."""


@cache
def said() -> frozenset[str]:
    """Every text of the package, with an ellipsis in the place of each value."""
    found = set()
    for source in Path(feature_delivery.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values))
    return frozenset(found)


@pytest.mark.parametrize("sentence", QUOTED)
def test_every_symptom_is_a_sentence_of_the_code(sentence: str) -> None:
    assert sentence in said(), "the code says something else by now: quote that, and see whether the advice still holds"


def test_each_symptom_is_there_once_and_has_its_advice() -> None:
    assert len(QUOTED) >= 35
    assert len(set(QUOTED)) == len(QUOTED)
    for advice in re.findall(r"^> .+\n\n(.*)$", PAGE.read_text("utf-8"), re.MULTILINE):
        assert advice[:1] not in {"", "#", ">"}, "a symptom without advice"
