"""Features on a terminal: one table for all, one for each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_delivery.domain.spans import covered_seconds

MARKS = {
    "done": ("✓", "green"),
    "running": ("▶", "cyan"),
    "waiting": ("◷", "yellow"),
    "failed": ("✗", "red"),
    "rejected": ("↩", "magenta"),
    "skipped": ("-", "dim"),
    "pending": ("·", "dim"),
}
SHORT = 10
"""Digits of a commit that are shown."""

WORST = ("failed", "rejected", "running", "waiting", "pending", "done", "skipped")


def overview(features: Iterable[dict[str, Any]]) -> RenderableType:
    """Return every feature as one line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Feature", "Title", "State", "Attempt", "Waits for"):
        table.add_column(column)
    for one in features:
        gate = one["gate"]
        waits = Text(f"{gate['step']}: {gate['waits_for']}" if gate else "")
        table.add_row(
            one["key"],
            Text(one["title"] if one["title"] != one["key"] else ""),
            one["state"],
            str(one["attempt"] or "-"),
            waits,
        )
    return (
        table
        if table.row_count
        else Text("No feature is known here yet. Push one, or: feature-delivery start SHOP-1 --title …")
    )


def feature_view(found: dict[str, Any], *, heading: str = "", most: int = 99) -> RenderableType:
    """Return one feature: a heading, the process with a row per number, what it waits for, its environments.

    ``most``: rows there is room for; those around where the feature stands are shown.
    """
    parts: list[RenderableType] = [_heading(found, heading), steps_table(found, most=most)]
    if gate := found["gate"]:
        style = "red" if gate["blocked"] else "yellow"
        parts.append(Text(f"◷ {gate['step']}: {gate['waits_for']}", style=style))
    for environment in found["environments"]:
        commit = (environment["commit"] or "nothing")[:SHORT]
        parts.append(Text(f"{environment['name']}  {environment['address']}  {commit}", style="dim"))
    return Group(*parts)


def next_command(found: dict[str, Any], *, prefix: str = "feature-delivery", project: str = "") -> str:
    """Return what somebody may type to get the feature on; empty when it is under way or over, or done on its host.

    ``project``: named in the command, where it had to be named to get here.
    """
    gate, key = found["gate"], found["key"]
    if not gate:
        return ""
    key += f" --project {project}" if project else ""
    name, local = str(gate["step"]).rpartition("wait_for_")[2], found["host"] == "local"
    if gate["blocked"]:
        return f"{prefix} logs {key}"
    match name:
        case "start":
            return f"{prefix} take {key}"
        case "code" | "rework":
            return f"git push {'delivery' if local else 'origin'} HEAD:{found['branch']}"
        case "merge_request":
            return f"{prefix} open-request {key}" if local else ""
        case "verdict":
            return f"{prefix} keep {key}    or    {prefix} rollback {key}"
        case "turn":
            return f"{prefix} production" + (f" --project {project}" if project else "")
        case _:
            return f"{prefix} approve {key} --gate {name}{_candidate(found, name)}"


def _candidate(found: dict[str, Any], gate: str) -> str:
    """Return the option that binds an approval to what is shown, at the gates where that may be built anew."""
    candidate = found["candidate"] if gate in {"acceptance", "confirmation"} else None
    return f" --candidate {candidate['commit'][:SHORT]}" if candidate else ""


def _heading(found: dict[str, Any], heading: str) -> Text:
    state = found["state"] + (f", attempt {found['attempt']}" if found["attempt"] else "")
    title = "" if found["title"] == found["key"] else f"  {found['title']}"
    return Text.assemble((heading or found["key"], "bold"), title, "  ", (state, "dim"))


def steps_table(found: dict[str, Any], *, most: int = 99) -> Table:
    """Return the process table, one row per number, with states and durations; at most so many, the current ones."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("#", "", "Step", "Who", "Took"):
        table.add_column(column, justify="right" if column in {"#", "Took"} else "left")
    for number, steps in _current(rows(found["steps"]), most):
        state = row_state(steps)
        mark, style = MARKS[state]
        table.add_row(
            number,
            Text(mark, style=style),
            Text(steps[0]["title"], style="" if state not in {"pending", "skipped"} else "dim"),
            Text(steps[0]["who"], style="dim"),
            Text(took(steps), style="dim"),
        )
    return table


def rows(steps: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the steps by their number in the process table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for step in steps:
        found.setdefault(step["number"], []).append(step)
    return found


def _current(known: dict[str, list[dict[str, Any]]], most: int) -> list[tuple[str, list[dict[str, Any]]]]:
    shown = list(known.items())
    begun = [place for place, (_, steps) in enumerate(shown) if row_state(steps) not in {"pending", "skipped"}]
    end = min(len(shown), max(most, (begun[-1] if begun else 0) + 3))
    return shown[max(0, end - most) : end]


def row_state(steps: Iterable[dict[str, Any]]) -> str:
    """Return the state of a row: of the part that most wants to be seen; begun but unfinished counts as running."""
    states = {step["state"] for step in steps}
    worst = next(state for state in WORST if state in states)
    return "running" if worst == "pending" and "done" in states else worst


def took(steps: Iterable[dict[str, Any]]) -> str:
    """Return how long the row's steps have taken; an attempt that goes back repeats some of a row and not others."""
    over = [(moment(s["started"]), moment(s["ended"])) for s in steps if s["started"] and s["ended"]]
    return f"{covered_seconds(over):.1f} s" if any(begin <= end for begin, end in over) else ""


def moment(text: str) -> datetime:
    """Return a time that came as JSON."""
    return datetime.fromisoformat(text)


def _read(when: object) -> str:
    """Return a moment so that a narrow terminal breaks it between the day and the time."""
    return str(when)[:19].replace("T", " ")


def audit_table(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Return what people said, one row each; what did not count with its reason."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("When", "Feature", "Gate", "Who", "As", "Said", "Commit", "Way", "From", "Comment"):
        table.add_column(column, overflow="fold", min_width=10 if column == "When" else None)
    for one in found:
        gate = str(one["gate"]).rpartition("wait_for_")[2]
        said = str(one["kind"]).replace("_", " ") + ("" if one["accepted"] else " (does not count)")
        words = " / ".join(part for part in (one["comment"], one["reason"]) if part)
        cells = (_read(one["when"]), one["key"], gate, one["who"], one["role"], said, one["commit"][:SHORT])
        table.add_row(*(Text(str(cell)) for cell in (*cells, one["way"], one["address"], words)))
    return table if table.row_count else Text("Nobody has decided anything yet.")


def events_table(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Return what happened, one row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("When", "Feature", "What", "Who", "Text"):
        table.add_column(column, overflow="fold")
    for one in found:
        cells = (_read(one["when"]), one["key"], str(one["kind"]).replace("_", " "), one["who"], one["text"])
        table.add_row(*(Text(str(cell)) for cell in cells))
    return table if table.row_count else Text("Nothing has happened yet.")


def explanation(found: dict[str, Any]) -> list[str]:
    """Return how a commit came to production, line by line."""
    what = "takes back" if found["kind"] == "restoration" else "brings"
    named = found["feature"] if found["title"] == found["feature"] else f"{found['feature']} {found['title']}"
    lines = [
        f"{found['commit']} {what} {named.strip()}, attempt {found['attempt']} ({found['state'].replace('_', ' ')}).",
        f"moved           {str(found['moved_at'])[:19]}",
        f"tree            {found['tree']}",
        f"feature commit  {found['feature_commit']}",
        f"before it       {found['predecessor']}",
        "tests",
    ]
    for test in found["tests"]:
        red = f"; {test['red']}" if test["red"] else ""
        lines.append(f"  {test['where']}: {test['executed']} run, {test['failed']} failed{red}")
    lines.append("sign-offs")
    lines += [f"  {one['gate']}: {one['who']}, {one['kind']}, {str(one['at'])[:19]}" for one in found["sign_offs"]]
    return [line for line in lines if not line.endswith("  ")]
