"""Bare repositories for the local host: developers push to them, and their hook tells us."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

from feature_delivery.adapters.git import post_receive
from feature_delivery.adapters.git.address import GitAccess, RemoteAddress
from feature_delivery.adapters.git.commands import BOT_USER, GitCommands, closed_environment
from feature_delivery.domain.errors import Misconfigured, Refused, Unavailable
from feature_delivery.domain.names import BranchName, ProjectName

HOOK: Final = "post-receive"
_SCRIPT: Final = "feature-delivery-post-receive.py"
_OURS: Final = "# Written by feature-delivery; changes are lost."
_SETTINGS: Final = (
    ("receive.fsckObjects", "true"),
    ("transfer.fsckObjects", "true"),
    # Deleting a feature's branch is part of delivering it; production is protected by whoever moves it.
    ("receive.denyDeletes", "false"),
    ("receive.denyDeleteCurrent", "refuse"),
    # Pushing over HTTP is for those whom the server in front lets in.
    ("http.receivepack", "true"),
    ("core.logAllRefUpdates", "true"),
)


def create_bare(path: Path, default_branch: BranchName) -> Path:
    """Find or create a bare repository whose ``HEAD`` is ``default_branch``; its settings are brought up to date.

    Raises:
        Misconfigured: ``path`` holds something else, or cannot be written.
    """
    target = path.absolute()
    commands = _commands(target)
    doing = f"create the repository {str(target)!r}"
    if not (target / "HEAD").exists():
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise Misconfigured(f"Could not {doing}: there is something else. Name another directory.")
        fresh = target.with_name(f".{target.name}.new-{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            commands.run("init", "--quiet", "--bare", "--template=", "--", str(fresh), doing=doing)
            (fresh / "hooks").mkdir()
            fresh.rename(target)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if not (target / "HEAD").exists():  # Else another process was faster.
                raise Misconfigured(f"Could not {doing}: {error.strerror}. Name another directory.") from error
        commands.run("symbolic-ref", "HEAD", f"refs/heads/{default_branch}", doing=doing)
    for name, value in _SETTINGS:
        commands.run("config", name, value, doing=doing)
    return target


def install_post_receive(path: Path, *, url: str, secret: str, project: ProjectName) -> None:
    """Make every push to the bare repository ``path`` send a signed webhook to ``url``; again replaces the settings.

    Raises:
        Refused: There is a hook of somebody else.
    """
    hooks = path.absolute() / "hooks"
    hook = hooks / HOOK
    if hook.exists() and _OURS not in hook.read_text(encoding="utf-8", errors="replace"):
        raise Refused(
            f"The repository {str(path)!r} has a {HOOK} hook of its own. Move it away, and call {_SCRIPT} from it."
        )
    script = hooks / _SCRIPT
    # The interpreter by its absolute path: a pusher's PATH is unknown. By way of sh: a shebang has no quotes and at
    # most 255 characters. Isolated, without site: it starts twice as fast and nothing foreign is imported.
    # What we push ourselves is in the ledger already; telling us would cost every delivery some looks at its host.
    ours = f'[ "$FEATURE_DELIVERY_USER" = {BOT_USER} ] && exit 0'
    start = f'{ours}\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(script))} "$@"'
    try:
        hooks.mkdir(exist_ok=True)
        settings = json.dumps({"url": url, "secret": secret, "project": project}, indent=1) + "\n"
        _write(path / post_receive.SETTINGS, settings, mode=0o600)
        _write(script, Path(post_receive.__file__).read_text(encoding="utf-8"), mode=0o644)
        _write(hook, f"#!/bin/sh\n{_OURS}\n{start}\n", mode=0o755)
    except OSError as error:
        raise Unavailable(
            f"Could not install the hook of {str(path)!r}: {error.strerror}. Check its owner and the disk."
        ) from error


def _write(path: Path, text: str, *, mode: int) -> None:
    """Write at once or not at all; the mode holds from the first byte on."""
    fresh = path.with_name(f".{path.name}.new-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.chmod(mode)
    fresh.rename(path)


def _commands(path: Path) -> GitCommands:
    address = RemoteAddress(url=str(path), shown=str(path))
    return GitCommands(
        git_dir=path, environment=closed_environment(address, GitAccess()), timeout=timedelta(seconds=60)
    )
