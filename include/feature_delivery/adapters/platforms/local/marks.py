"""The mark of whoever works on this machine: ``<root>/.control/<instance>/<project>.json``, replaced as it was read."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.local.state import lock_until, replace_whole
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.marks import UNREADABLE
from feature_delivery.domain.names import project_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import ProjectName

FOLDER = ".control"


def leave(root: Path, project: ProjectName, claim: Claim, *, timeout_seconds: float) -> str:
    """Put a mark in the place of one that the claim admits; returns what is there when it admits it not.

    It is on the disk before this returns: a machine that loses its power must not bring an older one back.

    Raises:
        Unavailable: Somebody else holds the folder all the time.
    """
    folder = root / FOLDER / claim.instance
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{project_name(project)}.json"
    with _locked(folder, timeout_seconds=timeout_seconds) as descriptor:
        found = _read(file)
        if not claim.admits(found):
            return found
        if found != claim.fresh:
            _write(file, claim.fresh)
            os.fsync(descriptor)
    return ""


def machine(root: Path, project: ProjectName, instance: str) -> str:
    """Return the name of the machine whose processes the project's environments are; empty: nobody has said so yet."""
    try:
        return str(json.loads((root / FOLDER / instance / f"{project_name(project)}.json").read_bytes())["machine"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _read(file: Path) -> str:
    try:
        return str(json.loads(file.read_bytes())["mark"])
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        return UNREADABLE


def _write(file: Path, mark: str) -> None:
    """Replace the file in one step; the machine and the time are for people who look for the other one."""
    content = {"mark": mark, "machine": socket.gethostname(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    replace_whole(file, json.dumps(content), fresh=file.with_suffix(".new"))


@contextmanager
def _locked(folder: Path, *, timeout_seconds: float) -> Iterator[int]:
    """Hold the folder; the kernel frees it when its holder dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not lock_until(descriptor, time.monotonic() + timeout_seconds):
            raise Unavailable(
                f"Could not leave a mark in {str(folder)!r}: another process has held it for "
                f"{timeout_seconds:g} seconds. Try again."
            )
        yield descriptor
    finally:
        os.close(descriptor)
