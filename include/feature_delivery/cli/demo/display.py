"""What the audience sees: the parts coming up, the process as it happens, what each person says."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from feature_delivery.cli.embedded.supervisor import PartEvent
from feature_delivery.cli.status_view import feature_view

LINES_KEPT = 8
ROWS_BESIDES = 8
"""Heading, gate, environments, and what wraps."""


class Display:
    """Live on a terminal, plain lines elsewhere; called from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        """Nothing is shown before it is entered."""
        self.console = console or Console()
        self._lock = threading.Lock()
        self._lines: deque[Text] = deque(maxlen=LINES_KEPT)
        self._feature: dict[str, Any] | None = None
        self._seen: dict[str, str] = {}
        self._began = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self.console.is_terminal:
            self._live = Live(get_renderable=self._picture, console=self.console, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def part(self, event: PartEvent) -> None:
        """Show that a part of the instance changed."""
        self.line("", f"{event.part}: {event.state}" + (f" after {event.seconds:.1f} s" if event.seconds else ""))

    def line(self, who: str, text: str) -> None:
        """Show what somebody says or does."""
        stamp = f"{time.monotonic() - self._began:6.1f} s  "
        line = Text.assemble((stamp, "dim"), (f"{who}: " if who else "", "bold cyan"), text)
        with self._lock:
            if self._live is None:
                self.console.print(line, soft_wrap=True)
            else:
                self._lines.append(line)

    def feature(self, found: dict[str, Any]) -> None:
        """Show where a feature stands; on a plain console only what has changed."""
        with self._lock:
            self._feature = found
        if self._live is not None:
            return
        for step in found["steps"]:
            name = f"{found['key']} {step['task']}"
            state = f"{step['state']} {step['try_number']}"
            if self._seen.get(name) == state:
                continue
            self._seen[name] = state
            if step["state"] in {"done", "failed", "waiting", "rejected"}:
                self.line("", f"{found['key']} {step['number']:>3} {step['task']} {step['state']}")

    def _room(self) -> int:
        """Return how many rows of the process fit: what does not is cut off at the end, where the news are."""
        return max(4, self.console.height - LINES_KEPT - ROWS_BESIDES)

    def _picture(self) -> RenderableType:
        with self._lock:
            lines = list(self._lines)
            shown = [feature_view(self._feature, most=self._room())] if self._feature else []
        return Group(*shown, Text(""), *lines)
