"""Languages of the board: gettext catalogues beside this file, read when the process first needs them.

A further language is one more ``locale/<code>/LC_MESSAGES/board.po``. Messages of the control plane (why a decision is
refused, what a gate waits for) are one sentence everywhere, in English: log, CLI, Slack and board say the same.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from gettext import NullTranslations
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import Translations

LOCALES = Path(__file__).parent / "locale"
DOMAIN = "board"
DEFAULT = "en"
NOTHING = "–"  # noqa: RUF001 - a dash where there is nothing to write
COOKIE = "feature_delivery_language"


@dataclass(frozen=True, slots=True)
class Language:
    """One language: how messages, numbers and moments are written in it."""

    code: str
    locale: Locale
    catalogue: NullTranslations

    @property
    def name(self) -> str:
        """Its own name."""
        return str(self.locale.get_display_name(self.code) or self.code).capitalize()

    def text(self, message: str) -> str:
        """Return a message in this language."""
        return self.catalogue.gettext(message) if message else ""

    def plural(self, one: str, many: str, number: float) -> str:
        """Return a message about a number of things in this language."""
        return self.catalogue.ngettext(one, many, int(number))

    def moment(self, at: datetime) -> str:
        """Return a moment in UTC, to the minute."""
        return str(format_datetime(at.astimezone(UTC), "d MMM y, HH:mm", locale=self.locale))

    def number(self, value: float) -> str:
        """Return a number with at most one decimal."""
        return str(format_decimal(value, "0.#", locale=self.locale))

    def day(self, at: datetime) -> str:
        """Return a day in UTC, short."""
        return str(format_date(at.astimezone(UTC).date(), "d MMM", locale=self.locale))

    def duration(self, seconds: float | timedelta | None, *, coarse: bool = False) -> str:
        """Return a length of time in at most two units; a dash for none.

        ``coarse``: seconds only when there is nothing else, as of something that goes on.
        """
        if seconds is None:
            return NOTHING
        whole = int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
        if whole <= 0:
            return "0"
        parts: list[str] = []
        for size, unit in self._units():
            number, whole = divmod(whole, size)
            if number and not (coarse and parts and size == 1):
                parts.append(unit % {"n": number})
            elif parts:
                break
            if len(parts) == 2:
                break
        return "\N{NO-BREAK SPACE}".join(parts).replace(" ", "\N{NO-BREAK SPACE}")

    def _units(self) -> tuple[tuple[int, str], ...]:
        return (
            (86400, self.text("%(n)d d")),
            (3600, self.text("%(n)d h")),
            (60, self.text("%(n)d min")),
            (1, self.text("%(n)d s")),
        )


@cache
def languages() -> dict[str, Language]:
    """Return every language there is, English first."""
    found = {DEFAULT: Language(DEFAULT, Locale.parse(DEFAULT), NullTranslations())}
    for path in sorted(LOCALES.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        code = path.parts[-3]
        compiled = io.BytesIO()
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=code, domain=DOMAIN))
        compiled.seek(0)
        found[code] = Language(code, Locale.parse(code), Translations(compiled))
    return found


def chosen(wanted: str, remembered: str, accepted: str) -> Language:
    """Return the language of a reader: what was asked for just now, before, or by the browser; else English."""
    known = languages()
    for code in (wanted, remembered, *_accepted(accepted)):
        for candidate in (code, code.partition("-")[0]):
            if candidate in known:
                return known[candidate]
    return known[DEFAULT]


def _accepted(header: str) -> Sequence[str]:
    """Return the codes of an ``Accept-Language`` header, the most wanted first."""
    found: list[tuple[float, int, str]] = []
    for place, part in enumerate(header[:500].split(",")):
        code, _, quality = part.partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=")) if quality else 1.0
        except ValueError:
            weight = 0.0
        if weight > 0:
            found.append((-weight, place, code.strip().lower()))
    return [code for _, _, code in sorted(found)]
