"""What containers have written, as a kubelet keeps it: each line with its time, readable while more comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Written:
    """One container's log; time goes on by a tenth of a second with each line, whatever the clock says."""

    lines: list[bytes] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: bool = False

    def write(self, data: bytes) -> None:
        with self.changed:
            self.lines += data.splitlines(keepends=True)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def text(self, query: dict[str, str]) -> bytes:
        """Return what there is, as the query asks for it."""
        with self.changed:
            return b"".join(self._asked(0, query))

    def follow(self, query: dict[str, str], *, is_over: Callable[[], bool]) -> Iterator[bytes]:
        """Yield what there is and what comes."""
        sent = 0
        while True:
            with self.changed:
                over = self.over or is_over()
                if sent == len(self.lines) and not over:
                    self.changed.wait(0.05)
                    continue
                found, sent = b"".join(self._asked(sent, query)), len(self.lines)
            if found:
                yield found
            if over:
                return

    def _asked(self, first: int, query: dict[str, str]) -> list[bytes]:
        stamped = [(_BEGAN + timedelta(seconds=number / 10), line) for number, line in enumerate(self.lines)][first:]
        if since := query.get("sinceTime"):
            # As the API server does it: whole seconds.
            stamped = [(at, line) for at, line in stamped if at >= datetime.fromisoformat(since).replace(microsecond=0)]
        if tail := query.get("tailLines"):
            stamped = stamped[-int(tail) :]
        timed = query.get("timestamps") == "true"
        return [(at.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if timed else b"") + line for at, line in stamped]
