"""Opening a pull request: the request itself, then its labels and reviewers, each of which may be left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.github.failures import said
from feature_delivery.adapters.git_hosts.github.limits import BODY, TITLE, shortened
from feature_delivery.domain.errors import NotFound, Permanent, Refused

if TYPE_CHECKING:
    from github.PullRequest import PullRequest

    from feature_delivery.adapters.git_hosts.github.client import Client
    from feature_delivery.domain.names import BranchName

RIGHT = "Pull requests: write"
LABEL_COLOUR = "1f6feb"


def open_pull(
    client: Client, *, source: BranchName, target: BranchName, title: str, body: str, doing: str
) -> PullRequest | None:
    """Open a pull request; ``None`` when somebody has opened one in the same moment.

    Raises:
        NotFound: A branch is not there.
        Refused: ``source`` has no commit that ``target`` lacks.
    """
    try:
        with client.doing(doing, right=RIGHT):
            return client.repository.create_pull(
                base=target, head=source, title=shortened(title, TITLE), body=shortened(body, BODY)
            )
    except Refused as error:
        words = said(error)
        if words is None or words.status != 422:
            raise
        if words.mentions("already exists"):
            return None
        for branch, field in ((source, "head"), (target, "base")):
            if words.about(field) or words.mentions(f"{field} sha can't be blank"):
                raise NotFound(f"Could not {doing}: there is no branch {branch!r}. Push it first.") from error
        if words.mentions("no commits between"):
            raise Refused(
                f"Could not {doing}: {source!r} has no commit that {target!r} lacks. Push one first."
            ) from error
        raise


def dress(client: Client, pull: PullRequest, *, reviewers: Sequence[str], labels: Sequence[str]) -> None:
    """Give a request of ours its labels and ask for the reviews that nobody has been asked for yet.

    What GitHub does not accept is left out: neither is worth a delivery that stops.
    """
    doing = f"label request {pull.number}"
    wanted = _missing(labels, [label.name for label in pull.labels])
    if wanted:
        known: list[str] = []
        with _left_out(), client.doing(doing, right="Issues: write"):
            known = [label.name for label in client.repository.get_labels()]
        for name in _missing(wanted, known):
            with _left_out(), client.doing(doing, right="Issues: write"):
                client.repository.create_label(name, LABEL_COLOUR)
        with _left_out(), client.doing(doing, right="Issues: write"):
            client.add_labels(pull.number, *wanted)
    _ask(client, pull, reviewers)


def _ask(client: Client, pull: PullRequest, reviewers: Sequence[str]) -> None:
    if not reviewers:
        return
    doing = f"ask for reviews of request {pull.number}"
    with client.doing(doing, right=RIGHT):
        heard = [user.login for user in pull.requested_reviewers]
        heard += [review.user.login for review in pull.get_reviews() if review.user is not None]
        asked_teams = [team.slug for team in pull.requested_teams]
        heard.append(pull.user.login)  # GitHub lets nobody review what is their own
    users = _missing([one for one in reviewers if "/" not in one], heard)
    own = f"{client.entry.owner.lower()}/"
    teams = _missing([one[len(own) :] for one in reviewers if one.lower().startswith(own)], asked_teams)
    if not users and not teams:
        return
    try:
        with client.doing(doing, right=RIGHT):
            pull.create_review_request(reviewers=users, team_reviewers=teams)
    except Permanent:
        # One name that GitHub does not accept loses all of them: each on its own, then.
        for user in users:
            with _left_out(), client.doing(doing, right=RIGHT):
                pull.create_review_request(reviewers=[user])
        for team in teams:
            with _left_out(), client.doing(doing, right=RIGHT):
                pull.create_review_request(team_reviewers=[team])


@contextmanager
def _left_out() -> Iterator[None]:
    with suppress(Permanent):
        yield


def _missing(wanted: Sequence[str], there: Sequence[str]) -> list[str]:
    """Return what is wanted and not there, each once; GitHub's names have no case."""
    known = {name.lower() for name in there}
    named: dict[str, str] = {}
    for name in wanted:
        if name and name.lower() not in known:
            named.setdefault(name.lower(), name)
    return list(named.values())
