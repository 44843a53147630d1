"""docs/security.md and the tests say the same: every way around that is written down is tried, and all in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = re.compile(r"\| `((?:tests/)?[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


def named() -> list[tuple[Path, str]]:
    return [(ROOT / file if "/" in file else HERE / file, test) for file, test in NAMED.findall(PAGE)]


def _tests_of(file: Path) -> set[str]:
    return set(re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE))


def test_every_row_names_a_test_that_there_is() -> None:
    rows = re.findall(r"^\|.*`.*\.py::.*\|$", PAGE, re.MULTILINE)
    assert len(named()) == len(rows) > 50
    missing = [f"{file.relative_to(ROOT)}::{test}" for file, test in named() if test not in _tests_of(file)]
    assert missing == [], "docs/security.md names tests that are not there: correct it"


def test_every_attack_has_its_row() -> None:
    ours = {(file, test) for file in HERE.glob("test_*.py") if file != Path(__file__) for test in _tests_of(file)}
    assert {f"{file.name}::{test}" for file, test in ours - set(named())} == set(), "add them to docs/security.md"


def test_no_row_is_there_twice() -> None:
    assert len(set(named())) == len(named())
