"""How long the other side asks to wait: one reading of ``Retry-After`` for everything that is reached by HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer's ``Retry-After`` asks for; ``None`` when it asks for nothing one can read.

    A date is read against the answer's own ``Date``: the clock of the other side may be wrong, but it is wrong in both
    (RFC 9110, section 10.2.3). Names of headers may be in any case.
    """
    found = {name.lower(): str(value).strip() for name, value in headers.items()}
    asked = found.get("retry-after", "")
    if _SECONDS.fullmatch(asked):
        return float(asked)
    until = http_date(asked)
    if until is None:
        return None
    return max(0.0, (until - (http_date(found.get("date", "")) or datetime.now(UTC))).total_seconds())


def http_date(text: str) -> datetime | None:
    """Return the moment that a header names; ``None`` for anything that is no date."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
