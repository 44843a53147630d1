"""Features in every stage, written straight into a ledger: what the board shows of a busy shop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha1
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from feature_delivery.adapters.ledger import tables as t
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName, TreeSha
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import CHECKS, GATES, ORDER, SETUPS, Step
from feature_delivery.domain.records import (
    Attempt,
    AttemptState,
    CandidateRecord,
    Decision,
    Deployment,
    Environment,
    EnvironmentState,
    Event,
    Feature,
    FeatureState,
    Gate,
    GateState,
    PermitRecord,
    Promotion,
    PromotionState,
    QueuePlace,
    SuiteResult,
    WebhookDelivery,
    now,
)
from feature_delivery.domain.work import CaseLine
from feature_delivery.ports.ledger import Books

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FAILURE = CaseLine(
    name="tests.functional.test_cart::test_a_gift_card_pays_a_part",
    state="failed",
    seconds=0.41,
    message="AssertionError: assert Decimal('12.00') == Decimal('10.00')\n  at cart.py:88\n  <script>alert(1)</script>",
)
TITLES = (
    "Gift cards at the checkout",
    "Wrap it as a gift",
    "Sort search results by price",
    "Pay by invoice",
    "Show what is left in stock",
    "Coupons for newsletter readers",
    "Remember the delivery address",
    "Order again with one click",
)


def sha(*parts: object) -> CommitSha:
    return CommitSha(sha1(repr(parts).encode(), usedforsecurity=False).hexdigest())


SIGNED = {
    Step.WAIT_FOR_REVIEW: "rita",
    Step.WAIT_FOR_ACCEPTANCE: "tess",
    Step.WAIT_FOR_CONFIRMATION: "max",
}
KINDS = {"development": Step.PROVISION_DEVELOPMENT, "preprod": Step.PROVISION_PREPROD}


@dataclass
class Planted:
    """One feature being written; ``at``: the time in its life."""

    books: Books
    feature: Feature
    at: datetime

    @property
    def attempt(self) -> int:
        return self.feature.attempt_number

    def add(self, record: Any) -> Any:
        self.books.add(record)
        return record

    def event(self, kind: str, text: str, *, person: str = "") -> None:
        self.add(
            Event(
                project=self.feature.project,
                feature_id=self.feature.id,
                kind=kind,
                text=text,
                person=person,
                attempt=self.attempt,
                at=self.at,
            )
        )

    def work(self, step: Step, *, lasts: timedelta = MINUTE, failed: str = "", goes_on: bool = False) -> None:
        permit = PermitRecord(
            feature_id=self.feature.id,
            attempt=self.attempt,
            step=step,
            try_number=1,
            task_instance=f"{self.feature.id}-{step}",
            state="granted" if goes_on else "failed" if failed else "done",
            reason=failed,
            granted_at=self.at,
            ended_at=None if goes_on else self.at + lasts,
        )
        self.at += lasts
        self.add(permit)

    def waited(self, step: Step, lasts: timedelta) -> None:
        gate = Gate(
            feature_id=self.feature.id,
            step=step,
            attempt=self.attempt,
            state=GateState.RESOLVED,
            outcome="approve",
            opened_at=self.at,
            resolved_at=self.at + lasts,
        )
        self.at += lasts
        self.add(gate)
        if step in SIGNED:
            self.said(step, SIGNED[step])

    def waits(self, step: Step, *, since: datetime, blocked: str = "", deadline: datetime | None = None) -> None:
        self.at = since
        self.add(
            Gate(
                feature_id=self.feature.id,
                step=step,
                attempt=self.attempt,
                opened_at=since,
                blocked=blocked,
                deadline=deadline,
            )
        )
        self.event("waiting", f"{step} waits.")

    def said(
        self, step: Step, person: str, kind: DecisionKind = DecisionKind.APPROVE, *, comment: str = "", why: str = ""
    ) -> None:
        self.add(
            Decision(
                feature_id=self.feature.id,
                step=step,
                attempt=self.attempt,
                commit=sha(self.feature.key, self.attempt),
                person=PersonName(person),
                kind=kind,
                accepted=not why,
                way="board",
                comment=comment,
                reason=why,
                candidate=sha("candidate", self.feature.key, self.attempt),
                at=self.at,
            )
        )

    def pushed(self, *, authors: tuple[str, ...] = ("dora",)) -> None:
        self.feature.attempt_number += 1
        self.add(
            Attempt(
                feature_id=self.feature.id,
                number=self.attempt,
                commit=sha(self.feature.key, self.attempt),
                authors=[PersonName(name) for name in authors],
                created_at=self.at,
            )
        )

    def environment(self, kind: str, commit: CommitSha | None = None) -> Environment:
        made = Environment(
            project=self.feature.project,
            name=f"{kind}-{self.feature.key.lower()}",
            kind=kind,
            feature_id=self.feature.id,
            state=EnvironmentState.READY,
            generation=1,
            address=f"http://127.0.0.1:8{self.feature.id % 1000:03}",
            commit=commit,
        )
        self.add(made)
        self.add(
            Deployment(
                environment_id=made.id,
                feature_id=self.feature.id,
                attempt=self.attempt,
                commit=commit or sha("nothing"),
                generation=1,
                state="done",
                started_at=self.at,
                ended_at=self.at + timedelta(seconds=9),
            )
        )
        return made

    def candidate(self, commit: CommitSha, feature_commit: CommitSha, *, green: bool) -> None:
        self.add(
            CandidateRecord(
                feature_id=self.feature.id,
                attempt=self.attempt,
                commit=commit,
                tree=TreeSha(sha("tree", self.feature.key)),
                base=sha("production"),
                feature_commit=feature_commit,
                integration_green=green,
            )
        )

    def suite(self, step: Step, suite: str, commit: CommitSha, *, red: str = "", tests: int = 14) -> None:
        cases = [
            CaseLine(name=f"tests.{suite}.test_shop::test_{n}", state="passed", seconds=0.02) for n in range(tests)
        ]
        self.add(
            SuiteResult(
                feature_id=self.feature.id,
                attempt=self.attempt,
                step=step,
                suite=suite,
                commit=commit,
                tests=tests + bool(red),
                executed=tests + bool(red),
                failed=int(bool(red)),
                seconds=3.4,
                red=red,
                report={"cases": [asdict(case) for case in ([FAILURE] if red else []) + cases]},
                at=self.at,
            )
        )


def plant(
    books: Books,
    key: str,
    to: Step,
    *,
    project: str = "shop",
    title: str | None = None,
    age: timedelta = 2 * DAY,
    waiting: timedelta = 2 * HOUR,
    blocked: str = "",
    works: bool = False,
    authors: tuple[str, ...] = ("dora",),
    issue_url: str = "",
    request_url: str = "",
    delivery: int = 1,
    span: timedelta | None = None,
) -> Planted:
    """Write a feature that has come to ``to`` and waits (or ``works``) there since ``waiting``.

    ``span``: how long the way there took; the rest of its age by default.
    """
    number = int(key.rpartition("-")[2])
    feature = Feature(
        project=ProjectName(project),
        key=FeatureKey(key),
        delivery=delivery,
        run_id=key if delivery == 1 else f"{key}__{delivery}",
        title=TITLES[number % len(TITLES)] if title is None else title,
        requester="max",
        branch=BranchName(f"feature/{key}-a-branch"),
        issue_url=issue_url,
        started=True,
        created_at=now() - age,
    )
    books.add(feature)
    planted = Planted(books, feature, feature.created_at)
    life = (span or age - waiting) * 0.96
    shares = sum(_share(number, step) for step in GATES if ORDER[step] < ORDER[to]) or 1.0
    for step in Step:
        if ORDER[step] >= ORDER[to]:
            break
        if step in GATES and step is not Step.WAIT_FOR_REWORK:
            planted.waited(step, life * _share(number, step) / shares)
        elif step not in GATES | SETUPS:
            planted.work(step, lasts=MINUTE / 3)
        _traces(planted, step, red=blocked, authors=authors, request_url=request_url, to=to)
    since = now() - waiting
    if works:
        planted.at = since
        planted.work(to, goes_on=True)
    else:
        planted.waits(to, since=since, blocked=blocked, deadline=now() + DAY if to is Step.WAIT_FOR_VERDICT else None)
    return planted


def _share(number: int, step: Step) -> float:
    """How much of its life a feature spends at a gate: code takes the longest, and not everything the same."""
    return (5.0 if step is Step.WAIT_FOR_CODE else 1.0) * (0.4 + (number * 7 + ORDER[step] * 13) % 60 / 100)


def _traces(planted: Planted, step: Step, *, red: str, authors: tuple[str, ...], request_url: str, to: Step) -> None:
    """Write what a step that is over has left behind."""
    feature = planted.feature
    commit, candidate = sha(feature.key, 1), sha("candidate", feature.key, 1)
    if step in CHECKS:
        name = step.value.rpartition(".")[2]
        planted.suite(step, name, commit, red=red if name == "functional" else "")
        return
    match step:
        case Step.WAIT_FOR_CODE:
            planted.pushed(authors=authors)
        case Step.DEPLOY_DEVELOPMENT:
            planted.environment("development", commit)
        case Step.WAIT_FOR_MERGE_REQUEST:
            feature.request_number = int(feature.key.rpartition("-")[2])
            feature.request_url, feature.request_author = request_url, "dora"
        case Step.BUILD_CANDIDATE:
            planted.candidate(candidate, commit, green=ORDER[to] > ORDER[Step.TEST_PREPROD])
        case Step.DEPLOY_PREPROD:
            planted.environment("preprod", candidate)
        case Step.TEST_PREPROD:
            planted.suite(step, "integration", candidate, tests=8)
        case _:
            pass


def end(planted: Planted, state: FeatureState, *, reason: str = "", ago: timedelta = DAY) -> None:
    """Let the feature have ended."""
    feature = planted.feature
    feature.state, feature.reason, feature.ended_at = state, reason, now() - ago
    gate = planted.books.open_gate(feature)
    if gate is not None:
        gate.state, gate.resolved_at = GateState.RESOLVED, feature.ended_at
    for place in planted.books.environments(feature=feature):
        place.state = EnvironmentState.DESTROYED


def promote(
    planted: Planted, state: PromotionState, *, moved: datetime | None = None, ended: datetime | None = None
) -> Promotion:
    """Let the feature have moved production."""
    made = Promotion(
        project=planted.feature.project,
        feature_id=planted.feature.id,
        attempt=planted.attempt,
        before=sha("production"),
        candidate=sha("candidate", planted.feature.key, planted.attempt),
        tree=TreeSha(sha("tree", planted.feature.key)),
        state=state,
        intended_at=moved or planted.at,
        moved_at=moved or planted.at,
        ended_at=ended,
    )
    planted.books.add(made)
    return made


def busy_shop(books: Books, project: str = "shop") -> None:
    """Plant features in every stage, some in trouble, one with a title made to do harm."""
    name = ProjectName(project)
    row = books.lock_project(name)
    row.production_commit = sha("production")
    books.add(
        Environment(
            project=name,
            name="production",
            kind="production",
            feature_id=None,
            state=EnvironmentState.READY,
            address="http://127.0.0.1:8999",
            commit=sha("production"),
        )
    )
    plant(books, "SHOP-1", Step.WAIT_FOR_START, age=HOUR, waiting=50 * MINUTE)
    plant(books, "SHOP-2", Step.WAIT_FOR_CODE, age=3 * HOUR)
    plant(books, "SHOP-3", Step.CHECK_FUNCTIONAL, works=True, waiting=timedelta(seconds=14))
    red = f"1 of 15 functional tests failed, first {FAILURE.name!r}."
    plant(books, "SHOP-4", Step.WAIT_FOR_MERGE_REQUEST, blocked=red, waiting=20 * MINUTE)
    plant(books, "SHOP-5", Step.WAIT_FOR_MERGE_REQUEST, waiting=12 * MINUTE)
    plant(books, "SHOP-6", Step.WAIT_FOR_REVIEW, waiting=5 * HOUR)
    plant(books, "SHOP-7", Step.WAIT_FOR_REVIEW, waiting=35 * MINUTE)
    told(plant(books, "SHOP-8", Step.WAIT_FOR_ACCEPTANCE, waiting=90 * MINUTE))
    plant(books, "SHOP-9", Step.WAIT_FOR_ACCEPTANCE, title=HOSTILE, waiting=3 * HOUR)
    plant(books, "SHOP-10", Step.DEPLOY_PREPROD, works=True, waiting=timedelta(seconds=8))
    plant(books, "SHOP-11", Step.WAIT_FOR_CONFIRMATION, waiting=26 * HOUR, age=6 * DAY)
    for number in (12, 13):
        waiting = plant(books, f"SHOP-{number}", Step.WAIT_FOR_TURN, waiting=(20 - number) * MINUTE, age=5 * DAY)
        books.add(QueuePlace(project=name, feature_id=waiting.feature.id, since=waiting.at))
    holder = plant(books, "SHOP-14", Step.WAIT_FOR_VERDICT, waiting=6 * MINUTE, age=4 * DAY)
    promote(holder, PromotionState.DEPLOYED)
    holder.suite(Step.TEST_PRODUCTION, "integration", sha("candidate", "SHOP-14", 1), tests=8)
    row.lock_feature_id, row.lock_since = holder.feature.id, now() - 9 * MINUTE
    back = plant(books, "SHOP-15", Step.WAIT_FOR_REWORK, waiting=2 * DAY, age=8 * DAY)
    promote(back, PromotionState.ROLLED_BACK, moved=now() - 50 * HOUR, ended=now() - 49 * HOUR)
    red = "2 of 8 integration tests failed in production."
    back.suite(Step.TEST_PRODUCTION, "integration", sha("candidate", "SHOP-15", 1), red=red, tests=7)
    attempt = books.attempt(back.feature)
    assert attempt is not None
    attempt.state, attempt.reason = AttemptState.ROLLED_BACK, red
    shown = plant(books, "SHOP-16", Step.WAIT_FOR_DEMONSTRATION, waiting=7 * HOUR, age=9 * DAY)
    promote(shown, PromotionState.KEPT, moved=now() - 9 * HOUR, ended=now() - 8 * HOUR)
    shown.feature.state = FeatureState.SHIPPED
    for number in range(17, 23):
        days = (number - 16) * 9
        done = plant(
            books, f"SHOP-{number}", Step.WAIT_FOR_DEMONSTRATION, age=(days + 8) * DAY, span=(3 + number % 4) * DAY
        )
        promote(done, PromotionState.KEPT, moved=now() - days * DAY, ended=now() - days * DAY + HOUR)
        end(done, FeatureState.DELIVERED, ago=(days - 1) * DAY)
    end(
        plant(books, "SHOP-23", Step.WAIT_FOR_REVIEW, age=5 * DAY),
        FeatureState.CANCELLED,
        reason="max cancelled it. The client wants something else.",
    )


def crowd(session: Session, count: int, *, project: str = "shop", first: int = 10_001) -> None:
    """Write so many features that wait at gates, in bulk."""
    steps = (Step.WAIT_FOR_CODE, Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION)
    begun = now() - 3 * DAY
    empty = {"description": "", "requester": "max", "issue_url": "", "request_url": "", "request_author": ""}
    keys = [f"SHOP-{number}" for number in range(first, first + count)]
    features = [
        {
            **empty,
            "project": project,
            "key": key,
            "delivery": 1,
            "run_id": key,
            "title": f"{TITLES[place % len(TITLES)]} {place}",
            "state": FeatureState.ACTIVE,
            "attempt_number": 1,
            "started": True,
            "branch_is_ours": True,
            "pushers": [],
            "strangers": [],
            "created_at": begun,
            "reason": "",
        }
        for place, key in enumerate(keys)
    ]
    session.execute(t.feature.insert(), features)
    found = session.execute(select(t.feature.c.id, t.feature.c.key).where(t.feature.c.key.in_(keys)))
    ids = {key: number for number, key in found}
    attempts = [
        {
            "feature_id": ids[key],
            "number": 1,
            "commit": sha(key, 1),
            "authors": ["dora"],
            "strangers": [],
            "state": AttemptState.ACTIVE,
            "reason": "",
            "created_at": begun,
        }
        for key in keys
    ]
    gates = [
        {
            "feature_id": ids[key],
            "step": steps[place % len(steps)],
            "attempt": 1,
            "state": GateState.OPEN,
            "outcome": "",
            "blocked": "",
            "opened_at": begun + place * MINUTE,
            "ended": True,
            "reminders": 0,
        }
        for place, key in enumerate(keys)
    ]
    suites = [
        {
            "feature_id": ids[key],
            "attempt": 1,
            "step": step,
            "suite": step.value.rpartition(".")[2],
            "commit": sha(key, 1),
            "tests": 20,
            "executed": 20,
            "failed": 0,
            "seconds": 1.0,
            "red": "",
            "report": {"cases": []},
            "at": begun,
        }
        for key in keys
        for step in sorted(CHECKS)
    ]
    for table, rows in ((t.attempt, attempts), (t.gate, gates), (t.suite_result, suites)):
        session.execute(table.insert(), rows)


HOSTILE = (
    "<script>alert('x')</script> \"quoted\" & <b>bold</b> \u202eright to left\u202c \N{PARTY POPPER} " + "long " * 44
)


def told(planted: Planted) -> None:
    """Let the feature have told people something, have been told something, and one decision of it not count."""
    feature = planted.feature
    for sent, text in ((planted.at, f"{feature.key} waits for acceptance."), (None, "Look at <i>it</i>.")):
        planted.add(
            OutboxEntry(
                project=feature.project,
                feature_id=feature.id,
                kind=Errand.MESSAGE,
                payload={"to": ["tess"], "text": text},
                marker=f"{feature.run_id}:{text}",
                created_at=planted.at,
                due_at=now() + DAY,
                sent_at=sent,
                error="" if sent else "The chat did not answer within 10 s.",
            )
        )
    planted.add(
        WebhookDelivery(
            project=feature.project,
            delivery_id=f"push-{feature.key}",
            host="gitea",
            event="push",
            body=b"",
            hint={"branch": feature.branch},
            received_at=planted.at,
            processed_at=planted.at,
            result=f"{feature.branch} is looked at.",
        )
    )
    reason = f"dora worked on this commit: somebody else must approve at {Step.WAIT_FOR_REVIEW}."
    planted.said(Step.WAIT_FOR_REVIEW, "dora", comment="I wrote it <b>well</b>.", why=reason)
