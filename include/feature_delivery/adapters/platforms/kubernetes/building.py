"""The project's own command that builds and pushes the image of a commit, run on the worker before a deploy."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.domain.errors import Misconfigured, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from feature_delivery.domain.plan import Command
    from feature_delivery.ports.platform import Release

_LAST_LINES = 12
_HANDED_ON = (
    *("PATH", "HOME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "BUILDKIT_HOST", "REGISTRY_AUTH_FILE"),
)
"""What a build needs of the worker's environment; Airflow's own variables hold secrets and stay here."""


def build(command: Command, release: Release, *, image: str, limit: timedelta, say: Callable[[str], None]) -> None:
    """Run the command in a checkout of the commit; ``{commit}`` and ``{image}`` in its words are filled in.

    Raises:
        Refused: It failed, or took too long; the sentence ends with its last lines.
        Misconfigured: There is no such program.
    """
    words = [word.replace("{commit}", release.commit).replace("{image}", image) for word in command]
    say(f"Build {image}: {' '.join(words)}")
    with tempfile.TemporaryDirectory(prefix="feature-delivery-build-", ignore_cleanup_errors=True) as made:
        checkout = Path(made, "checkout")
        checkout.mkdir()
        release.checkout(checkout)
        code, last = _run(words, checkout, limit=limit, say=say)
    if code == 0:
        return
    how = f"exited with {code}" if code is not None else f"did not end within {limit.total_seconds():g} seconds"
    ending = "It ended with:\n" + "\n".join(last) if last else "It wrote nothing."
    raise Refused(f"Could not build {image}: {words[0]!r} {how}. {ending}")


def _run(
    words: list[str], directory: Path, *, limit: timedelta, say: Callable[[str], None]
) -> tuple[int | None, tuple[str, ...]]:
    """Return the exit code (``None``: out of time) and the last lines; nothing of it runs on afterwards."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    over = threading.Event()
    try:
        process = subprocess.Popen(
            words,
            cwd=directory,
            env={name: os.environ[name] for name in _HANDED_ON if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise Misconfigured(
            f"Could not start {words[0]!r} of 'platform.build': {error.strerror}. Install it on the worker."
        ) from error

    def stop() -> None:
        over.set()
        _end(process)

    timer = threading.Timer(limit.total_seconds(), stop)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            text = clean(line)
            last.append(text)
            say(text)
        process.wait()
    finally:
        timer.cancel()
        _end(process)
        if process.stdout is not None:
            process.stdout.close()
    return (None if over.is_set() else process.returncode), tuple(last)


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
