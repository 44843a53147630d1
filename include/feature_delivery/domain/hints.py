"""What a webhook says that one should look at. Nothing in it is believed: the host is asked before anything changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from feature_delivery.domain.names import BranchName


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Where to look.

    Attributes:
        branch: A branch that was created, pushed to or deleted, or the source of the merge request in question.
        request: Number of the merge request that was opened, changed, reviewed or commented on.
        issue: The tracker's own name of the issue (``SHOP-1`` in Jira, ``42`` on a host).
        person: Login of who did it; for the history only.
        pushed: The branch was pushed to (so ``person`` is the pusher).
        ignored: Why this is not for us (a tag, a bot, another event); empty: it is.
        repository: The whole name of the repository that it is about, as far as the host says: a webhook may be that
            of an organisation. Two hints at the same place are the same hint.
    """

    branch: BranchName | None = None
    request: int | None = None
    issue: str = ""
    person: str = ""
    pushed: bool = False
    ignored: str = ""
    repository: str = field(default="", compare=False)
