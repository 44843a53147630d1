"""Draw docs/images/process.svg and process-ru.svg from the process table: part of ``make reference``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from feature_delivery.domain.process import GATES, PROCESS, Row, Who
from feature_delivery.web.board.language import languages
from feature_delivery.web.board.words import STATIONS, WHO

IMAGES = Path(__file__).parents[1] / "docs" / "images"
FILES = {"en": "process.svg", "ru": "process-ru.svg"}
COLUMNS = 4
BOX_WIDTH, BOX_HEIGHT, GAP, LINE = 236, 62, 18, 17
MARGIN, HEAD = 12, 8
LETTERS = 25
"""Of a line in a box; some letters are wider than others, so rather few."""

STYLE = """
    text { font: 12.5px system-ui, "DejaVu Sans", sans-serif; fill: #1a2030; }
    .who { font-size: 11px; fill: #5b6475; }
    .number { font-weight: 700; fill: #fff; text-anchor: middle; }
    .box { fill: #fff; stroke: #c9cfdb; } .gate .box { fill: #eef2ff; stroke: #3451d1; stroke-width: 1.5; }
    .back .box { fill: #fff4f2; stroke: #b3261e; } circle { fill: #5b6475; } .gate circle { fill: #3451d1; }
    .back circle { fill: #b3261e; } .way { fill: none; stroke: #8a93a6; stroke-width: 1.5; } .arrow { fill: #8a93a6; }
"""
REWOUND = {
    "en": "↺ A newer commit before 18, and the next one after red tests, a rejection or a rollback, goes on from 6.",
    "ru": "↺ Новый коммит до шага 18 и следующий после красных тестов, отклонения или отката идут снова от шага 6.",
}
LEGEND = {
    "en": ("a person or an event is waited for", "automatic", "only when production is rolled back"),
    "ru": ("ждём человека или события", "автоматически", "только при откате прода"),
}


@dataclass(frozen=True)
class Place:
    """Where a row of the process is drawn."""

    row: Row
    x: int
    y: int

    @property
    def kind(self) -> str:
        """Return what it is drawn as."""
        if self.row.number.startswith("R"):
            return "back"
        return "gate" if any(step in GATES for step in self.row.steps) else "work"


def places() -> list[Place]:
    """Return every row from left to right, line after line; the way back is a line of its own at the end."""
    ahead = [row for row in PROCESS if not row.number.startswith("R")]
    back = [row for row in PROCESS if row.number.startswith("R")]
    lines = -(-len(ahead) // COLUMNS)

    def at(place: int, line: int) -> tuple[int, int]:
        return MARGIN + place * (BOX_WIDTH + GAP), HEAD + line * (BOX_HEIGHT + GAP)

    found = [Place(row, *at(n % COLUMNS, n // COLUMNS)) for n, row in enumerate(ahead)]
    # The last line has room for the way back: it begins at the verdict, above it.
    free = len(ahead) % COLUMNS
    first = (free, lines - 1) if free and free + len(back) <= COLUMNS else (0, lines)
    return found + [Place(row, *at(first[0] + n, first[1])) for n, row in enumerate(back)]


def picture(language: str) -> str:
    """Return the picture in a language of the board."""
    text = languages()[language].text
    drawn = places()
    width = 2 * MARGIN + COLUMNS * BOX_WIDTH + (COLUMNS - 1) * GAP
    bottom = max(place.y for place in drawn) + BOX_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 56}" role="img">',
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{bottom + 56}" rx="8" fill="#f6f7fa"/>',
    ]
    ahead = [place for place in drawn if place.kind != "back"]
    for one, following in pairwise(ahead):
        parts.append(_way(one, following))
    for place in drawn:
        who = ", ".join(text(WHO[one]) for one in place.row.who if one is not Who.AUTOMATIC) or text(WHO[Who.AUTOMATIC])
        parts.append(_box(place, text(STATIONS[place.row.title]), who))
    parts += [
        _legend(n, kind, words, bottom) for n, (kind, words) in enumerate(zip(KINDS, LEGEND[language], strict=True))
    ]
    parts.append(f'<text class="who" x="{MARGIN}" y="{bottom + 46}">{escape(REWOUND[language])}</text>')
    return "\n".join([*parts, "</svg>", ""])


KINDS = ("gate", "work", "back")


def _box(place: Place, title: str, who: str) -> str:
    lines = _wrapped(title)
    y = place.y + (21 if len(lines) > 1 else 25)
    said = "".join(
        f'<text x="{place.x + 38}" y="{y + n * (LINE - 2)}">{escape(line)}</text>' for n, line in enumerate(lines)
    )
    return (
        f'<g class="{place.kind}"><rect class="box" x="{place.x}" y="{place.y}" width="{BOX_WIDTH}" '
        f'height="{BOX_HEIGHT}" rx="7"/><circle cx="{place.x + 20}" cy="{place.y + BOX_HEIGHT // 2}" r="13"/>'
        f'<text class="number" x="{place.x + 20}" y="{place.y + BOX_HEIGHT // 2 + 4}">{place.row.number}</text>'
        f'{said}<text class="who" x="{place.x + 38}" y="{y + len(lines) * (LINE - 2)}">{escape(who)}</text></g>'
    )


def _wrapped(title: str) -> list[str]:
    lines = [""]
    for word in title.split():
        if lines[-1] and len(lines[-1]) + len(word) + 1 > LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    # Two lines fit; what is longer says its beginning.
    return lines if len(lines) < 3 else [lines[0], lines[1].rstrip(",;") + " …"]


def _way(one: Place, following: Place) -> str:
    if one.y == following.y:
        y = one.y + BOX_HEIGHT // 2
        end = following.x
        return (
            f'<path class="way" d="M{one.x + BOX_WIDTH} {y}H{end - 5}"/>'
            f'<path class="arrow" d="M{end - 6} {y - 4}L{end} {y}L{end - 6} {y + 4}z"/>'
        )
    middle, x = one.y + BOX_HEIGHT + GAP // 2, following.x + BOX_WIDTH // 2
    return (
        f'<path class="way" d="M{one.x + BOX_WIDTH // 2} {one.y + BOX_HEIGHT}V{middle}H{x}V{following.y - 5}"/>'
        f'<path class="arrow" d="M{x - 4} {following.y - 6}L{x} {following.y}L{x + 4} {following.y - 6}z"/>'
    )


def _legend(place: int, kind: str, words: str, bottom: int) -> str:
    x = MARGIN + place * (BOX_WIDTH + GAP + 40)
    return (
        f'<g class="{kind}"><rect class="box" x="{x}" y="{bottom + 12}" width="16" height="12" rx="3"/>'
        f'<text class="who" x="{x + 24}" y="{bottom + 22}">{escape(words)}</text></g>'
    )


def main() -> int:
    """Write the pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for language, name in FILES.items():
        (IMAGES / name).write_text(picture(language), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
