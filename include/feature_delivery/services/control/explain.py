"""How a commit came to production: its tree, tests, sign-offs, feature and predecessor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import NotFound
from feature_delivery.domain.records import Promotion

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Books


@dataclass(frozen=True, slots=True, kw_only=True)
class TestsOfCommit:
    """One run of a suite on the commit or on the feature commit in it."""

    suite: str
    where: str
    executed: int
    failed: int
    red: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOff:
    """One decision that the commit carries."""

    gate: str
    who: str
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``kind``: ``promotion`` or ``restoration``. ``predecessor``: what production was at before."""

    commit: str
    kind: str
    tree: str
    feature: str
    title: str
    attempt: int
    feature_commit: str
    predecessor: str
    state: str
    moved_at: datetime | None
    tests: tuple[TestsOfCommit, ...]
    sign_offs: tuple[SignOff, ...]


def explain(books: Books, project: ProjectConfig, commit: CommitSha) -> Explanation:
    """Return the history of a commit that was moved to production by a delivery.

    Raises:
        NotFound: No delivery put it there.
    """
    for promotion in reversed(books.promotions(project.name)):
        if promotion.moved_at is not None and commit in {promotion.candidate, promotion.restored}:
            return _explanation(books, promotion, commit)
    raise NotFound(
        f"No delivery of {project.name} put {commit[:10]} on production: it is older than the ledger, pushed by hand, "
        "or not on production at all."
    )


def _explanation(books: Books, promotion: Promotion, commit: CommitSha) -> Explanation:
    feature = books.feature_by_id(promotion.feature_id)
    attempt = books.attempt(feature, promotion.attempt)
    restoration = commit == promotion.restored
    about = {commit} if restoration else {promotion.candidate, *([attempt.commit] if attempt else [])}
    return Explanation(
        commit=commit,
        kind="restoration" if restoration else "promotion",
        tree="" if restoration else promotion.tree,
        feature=feature.key,
        title=feature.title,
        attempt=promotion.attempt,
        feature_commit=attempt.commit if attempt else "",
        predecessor=promotion.candidate if restoration else promotion.before,
        state=promotion.state,
        moved_at=promotion.moved_at,
        tests=tuple(
            TestsOfCommit(
                suite=result.suite,
                where=result.step,
                executed=result.executed,
                failed=result.failed,
                red=result.red,
                at=result.at,
            )
            for result in books.suite_results(feature)
            if result.commit in about
        ),
        sign_offs=tuple(
            SignOff(gate=d.step, who=d.person, kind=d.kind, at=d.at)
            for d in books.decisions(feature, promotion.attempt)
            if d.accepted
        ),
    )
