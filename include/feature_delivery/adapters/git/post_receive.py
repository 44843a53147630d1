"""The hook that a local bare repository runs after a push: one signed webhook for each branch that moved.

Git gets a copy of this file, so it uses the standard library alone and imports nothing of the package. A webhook that
cannot be delivered never fails the push: the pusher reads one line, and ``webhook-failures.log`` in the repository
keeps it. Whoever listens finds lost pushes by asking for the branches, as with any host.
"""

import hashlib
import hmac
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

SETTINGS = "feature-delivery.json"
FAILURES = "webhook-failures.log"
TIMEOUT_SECONDS = 5


def read_settings(repository: Path) -> dict[str, str]:
    """Return url, secret and project; the file holds a secret, so nobody else may read it."""
    path = repository / SETTINGS
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(f"{SETTINGS} can be read by other users; run chmod 600 on it")
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {name: str(settings[name]) for name in ("url", "secret", "project")}


def pusher(new: str) -> str:
    """Return who pushed: what the transport knows, else who made the commit."""
    known = os.environ.get("FEATURE_DELIVERY_USER") or os.environ.get("REMOTE_USER")
    if known or not new.strip("0"):
        return known or ""
    command = ["git", "log", "-1", "--no-show-signature", "--format=%ce", new, "--"]
    found = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_SECONDS)
    return found.stdout.decode("utf-8", "replace").strip()


def deliver(settings: dict[str, str], push: dict[str, str]) -> None:
    """Send one webhook.

    Raises:
        OSError: It was not accepted.
    """
    body = json.dumps({"project": settings["project"], **push}).encode()
    url = urllib.parse.urlsplit(settings["url"])
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise OSError("the url in " + SETTINGS + " is not one of http or https")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname, url.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(
            "POST",
            urllib.parse.urlunsplit(("", "", url.path or "/", url.query, "")),
            body=body,
            headers={
                "Content-Type": "application/json",
                "X-Feature-Delivery-Event": "push",
                "X-Feature-Delivery-Delivery": str(uuid.uuid4()),
                "X-Feature-Delivery-Signature": "sha256="
                + hmac.new(settings["secret"].encode(), body, hashlib.sha256).hexdigest(),
            },
        )
        status = connection.getresponse().status
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise OSError(f"answered {status}")


def too_late(*_signal: Any) -> None:
    """End a delivery whose other side answers drop by drop."""
    raise TimeoutError(f"no answer in {TIMEOUT_SECONDS} seconds")


def say(sentence: str) -> None:
    """Show the pusher one line."""
    sys.stderr.write(sentence + "\n")


def give_up(repository: Path, push: dict[str, str], reason: str) -> None:
    """Say once and keep what was not delivered."""
    say(f"feature-delivery was not told about {push['ref']}: {reason}. It will notice by itself.")
    line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **push, "reason": reason})
    with (repository / FAILURES).open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def main() -> int:
    """Deliver every line of standard input; always 0, because the push has happened."""
    repository = Path.cwd()
    signal.signal(signal.SIGALRM, too_late)
    for line in sys.stdin:
        try:
            old, new, ref = line.rstrip("\n").split(" ", 2)
            push = {"ref": ref, "old": old, "new": new, "pusher": ""}
            try:
                push["pusher"] = pusher(new)
                signal.setitimer(signal.ITIMER_REAL, TIMEOUT_SECONDS)
                deliver(read_settings(repository), push)
            except Exception as error:  # noqa: BLE001 - whatever it is, the push stands
                signal.setitimer(signal.ITIMER_REAL, 0)
                give_up(repository, push, str(error) or type(error).__name__)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Exception as error:  # noqa: BLE001 - a full disk, a closed terminal
            say(f"feature-delivery was not told about a push: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
