"""``python -m store.migrate up|down|status``: numbered, reversible steps of the schema.

``up`` runs every step of ``store/migrations`` that has not run yet, in order, and notes the release
(``$DELIVERY_COMMIT``) that ran it, together with the SQL that takes it back.

``down`` takes back, newest first, the steps that this code does not know (it is older than the database), or,
when it knows them all, the steps that this very release ran. Running either twice changes nothing more.
"""

import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

from store import db
from store.config import ConfigurationError, Settings

DIRECTORY = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Step:
    name: str
    up: str
    down: str


def steps(directory: Path = DIRECTORY) -> list[Step]:
    """Read the steps, in order of their numbers."""
    return [
        Step(
            name=(name := path.name.removesuffix(".up.sql")),
            up=path.read_text(encoding="utf-8"),
            down=path.with_name(f"{name}.down.sql").read_text(encoding="utf-8"),
        )
        for path in sorted(directory.glob("[0-9]*.up.sql"))
    ]


def _statements(script: str):
    """Split a script: ``executescript`` would commit the transaction that must hold it together."""
    buffer = ""
    for line in script.splitlines(keepends=True):
        if not buffer and (not line.strip() or line.lstrip().startswith("--")):
            continue
        buffer += line
        if sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""
    if buffer.strip():
        raise ConfigurationError(f"A migration ends in the middle of a statement: {buffer.strip()[:60]!r}.")


def _applied(connection: sqlite3.Connection) -> dict[str, sqlite3.Row]:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_steps"
        " (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, release TEXT NOT NULL, down TEXT NOT NULL)"
    )
    return {row["name"]: row for row in connection.execute("SELECT * FROM schema_steps ORDER BY position")}


def up(settings: Settings, directory: Path = DIRECTORY) -> list[str]:
    """Run what has not run yet; return the names."""
    with db.writing(settings.database) as connection:
        applied = _applied(connection)
        missing = [step for step in steps(directory) if step.name not in applied]
        for step in missing:
            for statement in _statements(step.up):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_steps (name, release, down) VALUES (?, ?, ?)",
                (step.name, settings.commit, step.down),
            )
    return [step.name for step in missing]


def down(settings: Settings, directory: Path = DIRECTORY) -> list[str]:
    """Take back what this code does not know, else what this release ran; return the names."""
    known = {step.name for step in steps(directory)}
    with db.writing(settings.database) as connection:
        newest_first = list(reversed(_applied(connection).values()))
        unwanted = [row for row in newest_first if row["name"] not in known]
        unwanted = unwanted or [row for row in newest_first if row["release"] == settings.commit]
        for row in unwanted:
            for statement in _statements(row["down"]):
                connection.execute(statement)
            connection.execute("DELETE FROM schema_steps WHERE name = ?", (row["name"],))
    return [row["name"] for row in unwanted]


def status(settings: Settings, directory: Path = DIRECTORY) -> dict[str, bool]:
    """Return every known step and whether it has run."""
    with db.writing(settings.database) as connection:
        applied = _applied(connection)
    return {name: name in applied for name in sorted({step.name for step in steps(directory)} | set(applied))}


def main(arguments: list[str]) -> int:
    if arguments not in (["up"], ["down"], ["status"]):
        print("Usage: python -m store.migrate up|down|status", file=sys.stderr)
        return 2
    try:
        settings = Settings.from_environment()
        if arguments == ["status"]:
            for name, done in status(settings).items():
                print(f"{'x' if done else ' '} {name}")
            return 0
        changed = up(settings) if arguments == ["up"] else down(settings)
    except (ConfigurationError, OSError, sqlite3.Error) as error:
        print(f"Could not migrate: {error}", file=sys.stderr)
        return 1
    print(f"{arguments[0]}: {', '.join(changed) or 'nothing to do'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
