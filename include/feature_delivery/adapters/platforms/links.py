"""Where the links of a commit lead."""

from __future__ import annotations

import os
from pathlib import Path


def leads_out(path: Path, *, of: Path) -> bool:
    """Say whether a path leads out of a folder, by whatever links; for folders that nobody changes meanwhile."""
    # Not Path.resolve: before Python 3.13 it raises RuntimeError for a link that leads to itself.
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(of))
