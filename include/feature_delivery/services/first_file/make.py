"""A shop whose ``Makefile`` knows how everything is done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from feature_delivery.services.first_file.draft import SUITES, Draft, SuiteDraft, content, present

if TYPE_CHECKING:
    from pathlib import Path

    from feature_delivery.domain.plan import Command

MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
# A Makefile calls other tools, which install what these name.
_LOCK_FILES = (
    *("requirements.txt", "pyproject.toml", "uv.lock", "poetry.lock", "package.json", "package-lock.json"),
    *("yarn.lock", "pnpm-lock.yaml", "go.mod", "go.sum", "Gemfile", "Gemfile.lock", "composer.json", "composer.lock"),
    *("Cargo.toml", "Cargo.lock", "mix.exs", "mix.lock"),
)
_TARGET = re.compile(r"^([A-Za-z0-9_.-][A-Za-z0-9_. -]*?)[^\S\n]*::?(?!=)", re.MULTILINE)


def draft(directory: Path) -> Draft:
    """Return what the targets tell; one that is missing stays a guess that fails, and is noted."""
    makefiles = present(directory, MAKEFILES)
    text = content(directory / makefiles[0]) if makefiles else ""
    targets = {name for names in _TARGET.findall(text) for name in names.split()}
    missing: list[str] = []

    def target(*wanted: str) -> Command:
        found = next((name for name in wanted if name in targets), None)
        if found is None:
            missing.append(wanted[0])
        return ("make", found or wanted[0])

    install = next((name for name in ("install", "deps", "setup") if name in targets), None)
    start, syntax = target("start", "run", "serve"), target("lint", "syntax", "check")
    suites = {
        suite: SuiteDraft(target(f"test-{suite}", f"{suite}-test", f"{suite}-tests", f"test_{suite}", suite))
        for suite in SUITES
    }
    lost = f"The Makefile has no target {', '.join(missing)}. Add what is missing, or name other commands."
    return Draft(
        install=(("make", install),) if install else (),
        inputs=(*makefiles, *present(directory, _LOCK_FILES)) if install else (),
        start=start,
        syntax=syntax,
        suites=suites,
        notes=(lost,) if missing else (),
    )
