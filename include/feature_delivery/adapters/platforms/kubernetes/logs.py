"""The log of a pod on its way to people: each line once, whoever passes it on and however often that one dies.

How far a log has been passed on is written on its pod, so that a triggerer that takes over and a task that is tried
again go on behind the last line. It is written after the lines: one that is lost meanwhile costs lines that come twice,
never one that is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.names import PREFIX
from feature_delivery.adapters.platforms.lines import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

HEARD = f"{PREFIX}/heard"
"""The annotation of a pod that says how far its log has been passed on."""

SAID_LIMIT = 5_000
"""Lines of one pod that are passed on to people; all of them count for the verdict."""

_LINE_LIMIT_BYTES = 1 << 20
_HEARD = re.compile(r"([0-9T:.+-]{10,40}) ([0-9]{1,9}) ([0-9]{1,9})")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How far a log has been passed on.

    Attributes:
        at: When its last line was written, in UTC; empty: none has been.
        same: How many lines were written at that very moment.
        lines: How many there were in all.
    """

    at: str = ""
    same: int = 0
    lines: int = 0

    @classmethod
    def read(cls, text: str) -> Mark:
        """Return what ``str`` has made; of anything else the beginning."""
        found = _HEARD.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found else cls()

    @classmethod
    def of(cls, pod: Manifest | None) -> Mark:
        """Return what is written on a pod."""
        annotations = ((pod or {}).get("metadata") or {}).get("annotations") or {}
        return cls.read(str(annotations.get(HEARD, "")))

    def __str__(self) -> str:
        """Return it as an annotation holds it."""
        return f"{self.at} {self.same} {self.lines}"

    @property
    def since(self) -> str:
        """From when a log has to be read to go on: the API server knows only whole seconds."""
        return f"{self.at[:19]}Z" if self.at else ""

    def after(self, at: str) -> Mark:
        """Return the mark behind one more line."""
        return Mark(at, self.same + 1 if at == self.at else 1, self.lines + 1)


class Reading:
    """One reading of a log with its times: says which lines are new."""

    def __init__(self, mark: Mark | None = None) -> None:
        """``mark``: lines up to there have been passed on."""
        self.mark = mark or Mark()
        self._skips_to = self.mark if self.mark.at else None
        self._at = ""
        self._same = 0
        self._rest = b""

    def lines(self, data: bytes, *, last: bool = False) -> Iterator[tuple[str, bool]]:
        """Yield the whole lines that ``data`` completes, and of each whether it is new; ``last``: nothing follows.

        ``mark`` goes along, line by line.
        """
        *whole, self._rest = (self._rest + data).split(b"\n")
        if self._rest and (last or len(self._rest) > _LINE_LIMIT_BYTES):
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            yield self._judged(line.decode("utf-8", "replace"))

    def _judged(self, line: str) -> tuple[str, bool]:
        at, text = split(line)
        self._at = at = at or self._at
        old = self._skips_to
        if old is not None:
            self._same += at == old.at
            if at < old.at or (at == old.at and self._same <= old.same):
                return text, False
            self._skips_to = None
        self.mark = self.mark.after(at)
        return text, True


def split(line: str) -> tuple[str, str]:
    """Return when a line was written, in UTC and in a form that can be compared, and its text.

    One without a time (the kubelet's own words are such) has an empty one, and belongs to the line before.
    """
    stamp, _, text = line.partition(" ")
    try:
        at = datetime.fromisoformat(stamp)
    except ValueError:
        return "", line
    if at.tzinfo is None:
        return "", line
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"), text


class Speech:
    """What people hear of a log: not the report behind it, and not more lines than anybody reads."""

    def __init__(self, say: Callable[[str], None], *, hush: Sequence[str] = (), said: int = 0) -> None:
        """``hush``: with a line that begins so, it is over; ``said``: lines that came before."""
        self._say = say
        self._hush = tuple(hush)
        self._said = said
        self.is_over = False

    def hear(self, line: str, *, aloud: bool = True) -> None:
        """Pass a line on, unless it is not for people, or was passed on before."""
        line = line.rstrip("\r")
        if self._hush and line.startswith(self._hush):
            self.is_over = True
        if self.is_over:
            return
        self._said += 1
        if not aloud:
            return
        if self._said < SAID_LIMIT:
            self._say(clean(line))
        elif self._said == SAID_LIMIT:
            self._say("(More lines follow; they are not kept.)")
