"""Runs Git: argument lists, a closed environment, a timeout on every command, errors as sentences.

One command costs 3 to 5 ms (most of it starting a process), so callers save commands, not microseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import git
from git.exc import GitCommandNotFound

from feature_delivery.adapters.git.failures import DAMAGED, failure
from feature_delivery.domain.errors import Misconfigured, Unavailable

if TYPE_CHECKING:
    from feature_delivery.adapters.git.address import GitAccess, RemoteAddress

BOT_USER = "feature-delivery"
"""Shown as the pusher by the local host's hook for everything that we push ourselves."""

DAMAGED_MARK = "feature-delivery-damaged"
"""A file of this name in the mirror says that it must be made anew before its next use."""

_SETTINGS: tuple[tuple[str, str], ...] = (
    # Nothing that came from outside is ever run.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    # Objects are checked on their way in. Old, harmless flaws of real histories are let through.
    ("transfer.fsckObjects", "true"),
    ("fetch.fsck.zeroPaddedFilemode", "warn"),
    ("fetch.fsck.badTimezone", "warn"),
    ("fetch.fsck.missingSpaceBeforeDate", "warn"),
    # A fetch arrives as one pack, renamed into place when complete: a kill leaves all of it or nothing.
    ("fetch.unpackLimit", "1"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
    ("advice.detachedHead", "false"),
)


@dataclass(frozen=True, slots=True)
class Output:
    """What a command said."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text for ids and the like, without the newline."""
        return self.out.decode("utf-8", "replace").strip()


def closed_environment(address: RemoteAddress, access: GitAccess) -> dict[str, str]:
    """Return the environment that every Git command gets on top of the process's own, less its ``GIT_*``.

    Configuration comes by environment as well, so that neither the remote's address nor a secret is an argument,
    where every user of the machine could read it.
    """
    settings = (*_SETTINGS, ("remote.origin.url", address.url), *address.settings)
    environment = {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(access.config_file or "/dev/null"),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",  # Empty, not absent: SSH_ASKPASS would open a window.
        "GIT_SSH_COMMAND": access.ssh_command,
        "GIT_ALLOW_PROTOCOL": "file:ssh:http:https",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "FEATURE_DELIVERY_USER": BOT_USER,
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment | dict(access.variables)


class GitCommands:
    """Runs Git commands on one bare repository."""

    def __init__(self, *, git_dir: Path, environment: Mapping[str, str], timeout: timedelta) -> None:
        """Start nothing yet; ``timeout`` is the default of each command."""
        self._git_dir = git_dir
        self._environment = dict(environment)
        self._timeout = timeout

    def run(
        self,
        *arguments: str,
        doing: str,
        allow: tuple[int, ...] = (0,),
        stdin: bytes | None = None,
        variables: Mapping[str, str] | None = None,
        replace_base: str | None = None,
        timeout: timedelta | None = None,
        keep_open: int | None = None,
    ) -> Output:
        """Run ``git <arguments>`` and return what it said.

        Args:
            *arguments: The command; names from outside are validated before and stand behind ``--`` where it exists.
            doing: Completes *Could not ...* for the error.
            allow: Exit codes that are answers, not failures.
            stdin: Input.
            variables: More environment for this command.
            replace_base: Namespace of replacement references to honour; none are honoured without it.
            timeout: Instead of the default.
            keep_open: A lock's file descriptor for the child to hold, so that a child that outlives us (kill -9)
                keeps the lock until it is done.

        Raises:
            Unavailable: The timeout passed (the whole process group is killed), and whatever is not known better.
        """
        environment = self._environment | dict(variables or {})
        if replace_base is not None:
            del environment["GIT_NO_REPLACE_OBJECTS"]
            environment["GIT_REPLACE_REF_BASE"] = replace_base
        command = [*_without_stray(environment), "git", f"--git-dir={self._git_dir}", *arguments]
        limit = timeout or self._timeout
        output = _execute(command, environment, stdin=stdin, limit=limit, keep_open=keep_open, doing=doing)
        if output.status not in allow:
            raise self._damage(output.err, doing=doing) or failure(output.err, doing=doing)
        return output

    def _damage(self, stderr: str, *, doing: str) -> Unavailable | None:
        if not DAMAGED.search(stderr) and f"not a git repository: '{self._git_dir}'" not in stderr:
            return None
        with suppress(OSError):
            (self._git_dir / DAMAGED_MARK).touch()
        return Unavailable(f"Could not {doing}: the mirror is damaged. It is made anew at the next try.")


def _without_stray(environment: Mapping[str, str]) -> list[str]:
    # GitPython always adds to the process's own environment. Called from a Git hook, that has a GIT_DIR, a
    # GIT_INDEX_FILE and a quarantine in it, which must not leak into our commands.
    stray = [name for name in os.environ if name.startswith("GIT_") and name not in environment]
    return ["env", *(part for name in stray for part in ("-u", name))] if stray else []


def _execute(
    command: list[str],
    environment: Mapping[str, str],
    *,
    stdin: bytes | None,
    limit: timedelta,
    keep_open: int | None,
    doing: str,
) -> Output:
    try:
        running = git.Git("/").execute(
            command,
            # GitPython hands it to Popen as it is; the type says less than it takes.
            istream=None if stdin is None else cast("BinaryIO", subprocess.PIPE),
            as_process=True,
            env=environment,
            start_new_session=True,
            pass_fds=() if keep_open is None else (keep_open,),
        )
    except GitCommandNotFound as error:
        raise Misconfigured(f"Could not {doing}: the program git was not found. Install Git 2.38 or newer.") from error
    process = cast("subprocess.Popen[bytes]", running.proc)
    try:
        out, err = process.communicate(input=stdin, timeout=limit.total_seconds())
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"Could not {doing}: Git was not done after {limit.total_seconds():g} seconds. Try again later."
        ) from error
    finally:
        _end(process)
    return Output(status=process.returncode, out=out or b"", err=(err or b"").decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group if it still runs (``git-remote-https``, ``ssh``) and reap it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
