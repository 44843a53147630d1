"""What every part of a project file is made of."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: object) -> object:
    """Read ``30s``, ``10m``, ``4h``, ``14d`` or a number of seconds."""
    if isinstance(value, bool):
        raise ValueError("write a duration like 30s, 10m, 4h or 14d")  # noqa: TRY004 - pydantic wants ValueError
    if isinstance(value, int | float):
        return timedelta(seconds=value)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration like 30s, 10m, 4h or 14d")
    return timedelta(seconds=float(match[1]) * UNITS[match[2]])


Duration = Annotated[
    timedelta,
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "description": "A duration like 30s, 10m, 4h or 14d, or a number of seconds.",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\s*\d+(\.\d+)?[smhd]\s*$"}],
        }
    ),
]


class Strict(BaseModel):
    """A part of the file: unknown fields are faults, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)
