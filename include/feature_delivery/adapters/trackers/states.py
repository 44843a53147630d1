"""What a team's own statuses mean to us, and which of them a delivery moves an issue to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Refused
from feature_delivery.ports.tracker import IssueState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.project import TrackerConfig

USUAL = {
    IssueState.OPEN: ("to do", "open", "new", "reopened", "backlog"),
    IssueState.IN_PROGRESS: ("in progress",),
    IssueState.DONE: ("done", "closed", "resolved"),
}
"""Names that say what they mean, best first: a workflow that also ends in "Won't do" is not guessed at."""


@dataclass(frozen=True, slots=True)
class Status:
    """One status of a workflow, by its name there, and what it means to us."""

    name: str
    state: IssueState

    def called(self, name: str) -> bool:
        """Say whether this is its name; trackers do not tell upper from lower case in names of statuses."""
        return self.name.casefold() == name.casefold()


def meaning(config: TrackerConfig, name: str, otherwise: IssueState) -> Status:
    """Return what the status ``name`` means: what the project file says, else what the tracker makes of it."""
    for state in IssueState:
        if name.casefold() in {word.casefold() for word in config.states.get(state, ())}:
            return Status(name, state)
    return Status(name, otherwise)


def goals(config: TrackerConfig, wanted: IssueState, statuses: Sequence[Status], *, doing: str) -> tuple[Status, ...]:
    """Return the statuses that are ``wanted``: the project file's first word, the usual one, or all that mean it.

    Args:
        config: Whose words count.
        wanted: What the issue shall be.
        statuses: Every status of the workflow.
        doing: What is going on, for sentences: ``move SHOP-1 to done``.

    Raises:
        Refused: The workflow has no such status, or several ends and nobody has said which one means delivered.
    """
    words = config.states.get(wanted, ())
    for name in words or USUAL[wanted]:
        found = [status for status in statuses if status.called(name) and (words or status.state is wanted)]
        if found:
            return (found[0],)
    there = ", ".join(repr(status.name) for status in statuses) or "none"
    if words:
        raise Refused(
            f"Could not {doing}: the workflow has no status {words[0]!r}. It has {there}. "
            f"Correct 'tracker.states.{wanted}' in the project file."
        )
    meant = tuple(status for status in statuses if status.state is wanted)
    if not meant:
        raise Refused(
            f"Could not {doing}: no status of the workflow means that. It has {there}. "
            f"Name one as 'tracker.states.{wanted}' in the project file."
        )
    if wanted is IssueState.DONE and len(meant) > 1:
        ends = ", ".join(repr(status.name) for status in meant)
        raise Refused(
            f"Could not {doing}: the workflow ends in {ends}, and which of them means delivered is not said. "
            "Name it as 'tracker.states.done' in the project file."
        )
    return meant
