"""Writes ``.env`` for docker-compose.yaml from ``.env.example``, with a new secret after each ``generate:``.

Needs nothing but Python, 3.9 or newer: a server has no more. What an existing ``.env`` says stays; what it lacks is
added, so that the same command serves an upgrade that brings a new setting. Beside it the file that ``SETTINGS_FILE``
names is made, once: compose wants it to be there, and what is in it is the operator's.

    python3 scripts/make_env.py [DIRECTORY]
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$")
SETTINGS = """\
# Settings of every container of Airflow, one NAME=value a line: FEATURE_DELIVERY_... (docs/settings.md),
# AIRFLOW_CONN_..., AIRFLOW__.... What has a `$`, a blank or quotes goes in single quotes. What docker-compose.yaml
# sets itself counts before this. After a change: docker compose up -d. It may hold secrets: keep it where .env is kept.
"""
KINDS: dict[str, Callable[[], str]] = {
    "token": lambda: secrets.token_hex(32),
    "fernet": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "instance": lambda: f"fd-{secrets.token_hex(4)}",
}


def generate(kind: str) -> str:
    """Return a new secret: ``token`` (fits a URL), ``fernet`` (Airflow's key) or ``instance`` (an id).

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f".env.example asks for a secret of the kind {kind!r}. Known: {', '.join(KINDS)}.")
    return KINDS[kind]()


def filled(example: str, existing: str) -> str:
    """Return ``existing`` with each setting it lacks added from ``example``, secrets made."""
    known = {found[1] for line in existing.splitlines() if (found := _LINE.match(line))}
    added: list[str] = []
    for line in example.splitlines():
        found = _LINE.match(line)
        if found is None:
            if not existing:
                added.append(line)
        elif found[1] not in known:
            kind = found[2].removeprefix("generate:")
            added.append(line if kind == found[2] else f"{found[1]}={generate(kind)}")
    if not added:
        return existing
    before = existing if existing.endswith("\n") or not existing else f"{existing}\n"
    return before + "\n".join(added) + "\n"


def write_private(path: Path, text: str) -> None:
    """Replace the file at once; nobody else can read it from its first byte on."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def main(directory: Path) -> None:
    """Write ``.env`` in ``directory``; says which settings are new, never what they are."""
    path = directory / ".env"
    existing = path.read_text("utf-8") if path.exists() else ""
    text = filled((directory / ".env.example").read_text("utf-8"), existing)
    write_private(path, text)
    names = [found[1] for line in text.removeprefix(existing).splitlines() if (found := _LINE.match(line))]
    sys.stdout.write(f"{path}: {', '.join(names) or 'nothing'} added.\n")
    for name in re.findall(r"^SETTINGS_FILE=['\"]?([^'\"\n]+)", text, re.MULTILINE):
        more = directory / name
        if not more.exists():
            write_private(more, SETTINGS)
            sys.stdout.write(f"{more}: made, for more settings.\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
