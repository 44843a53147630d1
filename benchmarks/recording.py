"""Recordings of shops: what the queries of ``production.observe`` gave while releases came, by ``record.py``."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"

Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """One release of a recording; both moments in seconds since its start.

    Attributes:
        stopped: The version before answered until then.
        at: The new one answers from then on.
        slower: By which factor its answers take longer; 1: it changes nothing.
        more_errors: Share of its answers that fail besides.
    """

    stopped: float
    at: float
    slower: float = 1.0
    more_errors: float = 0.0

    @property
    def equal(self) -> bool:
        """Say whether it changes nothing."""
        return self.slower == 1.0 and not self.more_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One shop over some time.

    Attributes:
        shop: Its name; ``tuned_on``: the judge's rules were chosen while looking at it.
        how: How it was recorded, for people.
        step_seconds: Between two values; the first is of the step that began with the recording.
        parts: Per query its values; ``None``: there was none.
    """

    shop: str
    tuned_on: bool
    how: Mapping[str, Any]
    step_seconds: float
    deployed: Sequence[Deployed]
    parts: Mapping[str, Sequence[float | None]]

    def points(self, part: str) -> Points:
        """Return the values of a query that there are, each with the end of its step in seconds since the start."""
        values = self.parts[part]
        return [((place + 1) * self.step_seconds, value) for place, value in enumerate(values) if value is not None]

    def write(self, folder: Path) -> None:
        """Write it down; values keep five digits."""
        content = {**asdict(self), "parts": {name: [_short(one) for one in part] for name, part in self.parts.items()}}
        # No time in the archive: the same recording is the same file.
        folder.joinpath(f"{self.shop}.json.gz").write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))


def recordings(folder: Path = FOLDER) -> list[Recording]:
    """Return all recordings, by name."""
    return [_read(path) for path in sorted(folder.glob("*.json.gz"))]


def _read(path: Path) -> Recording:
    content = json.loads(gzip.decompress(path.read_bytes()))
    return Recording(**{**content, "deployed": [Deployed(**one) for one in content["deployed"]]})


def _short(value: float | None) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
