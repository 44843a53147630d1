"""What the demo's developers write: overlays over the demo shop's tree.

A feature is a directory with a ``feature.yaml`` and one numbered overlay directory per commit. In an overlay

* ``*.patch`` at its top is a unified diff, merged three ways: shared files keep what other features did to them;
* a file named ``….deleted`` removes the path without the suffix;
* any other file is written over the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

DELETED = ".deleted"
GIT_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class DemoCommit:
    """One commit of a demo feature.

    ``from_production``: it is made from production anew and force-pushed in place of the one before, instead of on
    top of it.
    """

    number: int
    message: str
    overlay: Path
    from_production: bool


@dataclass(frozen=True, slots=True)
class DemoFeature:
    """One feature that the demo delivers; ``complaint`` is what people say of its first commit, when they do."""

    title: str
    description: str
    commits: tuple[DemoCommit, ...]
    complaint: str | None


class _Commit(BaseModel):
    model_config = ConfigDict(extra="forbid")
    message: str
    from_production: bool = False


class _Feature(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str
    description: str
    complaint: str | None = None
    commits: Annotated[list[_Commit], Field(min_length=1)]


def read_feature(directory: Path) -> DemoFeature:
    """Return the feature in ``directory``.

    Raises:
        NotFound: There is no feature.
        Misconfigured: Its ``feature.yaml`` is wrong, or an overlay is missing.
    """
    path = directory / "feature.yaml"
    try:
        found = _Feature.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError:
        raise NotFound(f"Could not read the demo feature {str(path)!r}: there is none. Name another one.") from None
    except yaml.YAMLError as error:
        raise Misconfigured(f"Could not read {str(path)!r}: {str(error).splitlines()[0]}. Correct it.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise Misconfigured(f"Could not read {str(path)!r}: `{field}`: {first['msg']}. Correct it.") from None
    commits = tuple(
        DemoCommit(
            number=number,
            message=commit.message.strip(),
            overlay=directory / str(number),
            from_production=commit.from_production,
        )
        for number, commit in enumerate(found.commits, start=1)
    )
    for commit in commits:
        if not commit.overlay.is_dir():
            raise Misconfigured(f"Could not read {str(path)!r}: {str(commit.overlay)!r} is missing. Add its files.")
    complaint = found.complaint.strip() if found.complaint else None
    return DemoFeature(found.title, found.description.strip(), commits, complaint)


def apply_overlay(directory: Path, overlay: Path) -> None:
    """Write ``overlay`` over the clean Git work tree ``directory``; all of it, or nothing. Nothing is committed.

    Raises:
        NotFound: There is no such overlay.
        Refused: ``directory`` is no work tree, or holds changes that are not committed.
        Conflict: A patch does not fit what is there; the tree is as it was.
        Unavailable: The files could not be written (a full disk); the tree is as it was.
    """
    if not overlay.is_dir():
        raise NotFound(f"Could not apply the overlay {str(overlay)!r}: there is none. Name another one.")
    top = _git(directory, "rev-parse", "--show-toplevel")
    if top.returncode or os.path.realpath(top.stdout.strip()) != os.path.realpath(directory):
        raise Refused(
            f"Could not apply an overlay to {str(directory)!r}: it is no Git work tree. Clone the shop first."
        )
    if _git(directory, "status", "--porcelain").stdout.strip():
        raise Refused(f"Could not apply an overlay to {str(directory)!r}: it has changes. Commit them first.")
    try:
        _write(directory, overlay)
    except BaseException as error:
        _git(directory, "reset", "--hard", "--quiet", "HEAD")
        _git(directory, "clean", "--force", "-d", "--quiet")
        if isinstance(error, OSError):
            reason = f"{error.strerror or error}"
            raise Unavailable(
                f"Could not write the overlay {str(overlay)!r}: {reason}. Make room, then retry."
            ) from error
        raise


def _write(directory: Path, overlay: Path) -> None:
    patches = sorted(overlay.glob("*.patch"))
    for patch in patches:
        applied = _git(directory, "apply", "--3way", "--whitespace=nowarn", str(patch.resolve()))
        if applied.returncode:
            said = (applied.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
            raise Conflict(
                f"Could not apply {patch.name!r} of the overlay {str(overlay)!r}: {said}. "
                "Start from a production branch without the other change."
            )
    for source in sorted(path for path in overlay.rglob("*") if path.is_file() and path not in patches):
        target = directory / source.relative_to(overlay)
        if target.name.endswith(DELETED):
            target.with_name(target.name.removesuffix(DELETED)).unlink(missing_ok=True)
        elif "__pycache__" not in target.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def _git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Called from a hook, Git's own variables would point at another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            check=False,
            env=environment,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"Could not run git in {str(directory)!r}: {error}. Check that git is installed.") from error
