"""Writes what is made from the code, docs/settings.md and the JSON Schemas: `python scripts/make_reference.py`."""

from __future__ import annotations

from pathlib import Path

from feature_delivery.bootstrap.schemas import schemas
from feature_delivery.bootstrap.variables import table

ROOT = Path(__file__).resolve().parents[1]


def made() -> dict[Path, str]:
    """Return each file with its content."""
    found = {ROOT / "include" / "projects" / name: text for name, text in schemas().items()}
    return found | {ROOT / "docs" / "settings.md": table()}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text, "utf-8")
