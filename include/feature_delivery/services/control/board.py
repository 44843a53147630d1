"""The board's cards: where every feature stands, for whom it waits and since when. Pure rules over rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from feature_delivery.domain.freezes import freeze_at
from feature_delivery.domain.people import DecisionKind, Voice
from feature_delivery.domain.process import ORDER, Step, Who, row_of
from feature_delivery.domain.records import OPEN_PROMOTIONS, UNDER_WAY, AttemptState, FeatureState, PromotionState, now
from feature_delivery.domain.ways import Way
from feature_delivery.services.control.flags import counted, frozen_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from feature_delivery.domain.freezes import Freeze
    from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.board import BoardFacts, DecisionRow, FeatureRow, GateRow, PlaceRow


class Stage(StrEnum):
    """The columns, in order."""

    DEVELOPMENT = "development"
    REVIEW = "review"
    ACCEPTANCE = "acceptance"
    CONFIRMATION = "confirmation"
    QUEUE = "queue"
    PRODUCTION = "production"
    DELIVERED = "delivered"
    STOPPED = "stopped"


class Pace(StrEnum):
    """What a feature does just now."""

    DECISION = "decision"  # people decide at a gate
    EVENT = "event"  # people do something elsewhere: push, open a request
    BLOCKED = "blocked"  # something failed: people mend it
    TURN = "turn"  # production is another feature's, or frozen
    WORK = "work"  # a step runs
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """The newest results of the current attempt, all suites together; ``red``: the sentence of the first red one."""

    executed: int
    failed: int
    red: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One feature in its column.

    Attributes:
        step: Where it stands; ``number``: that row of the process.
        people: Who is waited for: may decide now, or is to act; empty when nobody is.
        since: When that began.
        blocked: What failed; empty otherwise.
        behind: Key of the feature that holds production while this one waits for its turn; empty when frozen.
        frozen: Why production is frozen; only while this one waits for its turn.
        place: Place in the queue for production, from 1; 0 outside.
        rolled_back: It was taken back from production and waits for rework.
        uncertain: Its deploy failed after production's branch moved.
        glass: Somebody broke glass for its current attempt.
    """

    project: ProjectName
    key: FeatureKey
    delivery: int
    title: str
    stage: Stage
    state: FeatureState
    pace: Pace
    since: datetime
    attempt: int
    reason: str
    issue_url: str
    request_number: int | None
    request_url: str
    created_at: datetime
    ended_at: datetime | None
    step: Step | None = None
    number: str = ""
    people: tuple[PersonName, ...] = ()
    deadline: datetime | None = None
    blocked: str = ""
    behind: str = ""
    frozen: str = ""
    place: int = 0
    rejected: str = ""
    rolled_back: bool = False
    uncertain: bool = False
    glass: bool = False
    tests: Tests | None = None
    places: tuple[tuple[str, str], ...] = ()

    def waits_for(self, person: str) -> bool:
        """Say whether ``person`` could help it on now."""
        return person in self.people

    def matches(self, text: str) -> bool:
        """Say whether every word of ``text`` is in its key, title or the people it waits for."""
        held = " ".join((self.key, self.title, *self.people)).casefold()
        return all(word in held for word in text.casefold().split())


STAGES: Mapping[str, Stage] = {
    "intake": Stage.DEVELOPMENT,
    "development": Stage.DEVELOPMENT,
    "review": Stage.REVIEW,
    "preprod": Stage.ACCEPTANCE,
    "production": Stage.PRODUCTION,
    "rollback": Stage.PRODUCTION,
    "teardown": Stage.DELIVERED,
    "completion": Stage.DELIVERED,
}
_OWN_STAGES: Mapping[Step, Stage] = {
    Step.NOTIFY_MANAGER: Stage.CONFIRMATION,
    Step.WAIT_FOR_CONFIRMATION: Stage.CONFIRMATION,
    Step.WAIT_FOR_TURN: Stage.QUEUE,
    Step.WAIT_FOR_REWORK: Stage.DEVELOPMENT,
}


def stage_of(step: Step) -> Stage:
    """Return the column of a step."""
    return _OWN_STAGES.get(step) or STAGES[step.partition(".")[0]]


def cards(facts: BoardFacts, projects: Mapping[ProjectName, ProjectConfig]) -> tuple[Card, ...]:
    """Return a card for every feature of ``projects``; features of other projects (their file is gone) are left out."""
    keys = {feature.id: feature.key for feature in facts.features}
    return tuple(
        _Standing(facts, projects[feature.project], feature, keys).card()
        for feature in facts.features
        if feature.project in projects
    )


def ended_card(feature: FeatureRow) -> Card:
    """Return the card of a feature that has ended, from its own row alone."""
    return Card(
        project=feature.project,
        key=feature.key,
        delivery=feature.delivery,
        title=feature.title,
        stage=Stage.DELIVERED if feature.state is FeatureState.DELIVERED else Stage.STOPPED,
        state=feature.state,
        pace=Pace.OVER,
        since=feature.ended_at or feature.created_at,
        attempt=feature.attempt_number,
        reason=feature.reason,
        issue_url=feature.issue_url,
        request_number=feature.request_number,
        request_url=feature.request_url,
        created_at=feature.created_at,
        ended_at=feature.ended_at,
    )


class _Standing:
    """Where one feature stands."""

    def __init__(
        self,
        facts: BoardFacts,
        project: ProjectConfig,
        feature: FeatureRow,
        keys: Mapping[int, FeatureKey],
    ) -> None:
        self.facts, self.project, self.feature, self.keys = facts, project, feature, keys
        self.attempt = facts.attempts.get(feature.id)
        self.gate = facts.gates.get(feature.id)
        self.work = facts.work.get(feature.id)
        self.promotion = facts.promotions.get(feature.id)
        self.authors = project.people.authors_of(self.attempt)

    def card(self) -> Card:
        feature = self.feature
        if feature.state not in UNDER_WAY:
            return ended_card(feature)
        step = self._step()
        blocked = self._blocked()
        pace = self._pace(blocked)
        place, behind, frozen = self._turn()
        ended_as = self.attempt.state if self.attempt else AttemptState.ACTIVE
        return replace(
            ended_card(feature),
            stage=Stage.DELIVERED if feature.state is FeatureState.SHIPPED else stage_of(step),
            pace=pace,
            since=self._since(),
            step=step,
            number=row_of(step).number,
            people=self._people(pace),
            deadline=self.gate.deadline if self.gate else None,
            blocked=blocked,
            behind=behind,
            frozen=frozen,
            place=place,
            rejected=self.attempt.reason if self.attempt and ended_as is AttemptState.REJECTED else "",
            rolled_back=ended_as is AttemptState.ROLLED_BACK,
            uncertain=self.promotion is PromotionState.UNCERTAIN,
            glass=any(d.way == Way.BREAK_GLASS for d in self.facts.decisions.get(feature.id, ())),
            tests=self._tests(),
            places=self._places(),
        )

    @property
    def sent_back(self) -> bool:
        """Say whether it was rejected and its run has not come to the gate for code yet."""
        return self.gate is None and self.attempt is not None and self.attempt.state is AttemptState.REJECTED

    @property
    def begins_anew(self) -> bool:
        """Say whether a newer attempt has begun, of which nothing has run yet."""
        return (
            self.gate is None
            and self.attempt is not None
            and (self.work is None or self.work.attempt < self.attempt.number)
        )

    def _step(self) -> Step:
        if self.gate:
            return self.gate.step
        if self.sent_back:
            return Step.WAIT_FOR_CODE
        if self.begins_anew:
            return Step.DEPLOY_DEVELOPMENT
        return self.work.step if self.work else Step.REGISTER_FEATURE

    def _since(self) -> datetime:
        if self.gate:
            return self.gate.opened_at
        if self.attempt and (self.sent_back or self.begins_anew):
            return self.attempt.ended_at or self.attempt.created_at
        return self.work.granted_at if self.work else self.feature.created_at

    def _blocked(self) -> str:
        if self.gate:
            return self.gate.blocked
        stale = self.sent_back or self.begins_anew
        return self.work.reason if self.work and self.work.state == "failed" and not stale else ""

    def _pace(self, blocked: str) -> Pace:
        if blocked:
            return Pace.BLOCKED
        if self.sent_back:
            return Pace.EVENT
        if self.gate is None:
            return Pace.WORK
        if self.gate.step is Step.WAIT_FOR_TURN:
            return Pace.TURN
        return Pace.DECISION if self.gate.step in self.project.people.policies else Pace.EVENT

    def _people(self, pace: Pace) -> tuple[PersonName, ...]:
        people = self.project.people
        match pace:
            case Pace.DECISION if self.gate is not None:
                return self._deciders(self.gate)
            case Pace.EVENT | Pace.BLOCKED:
                late = self.gate is not None and ORDER[self.gate.step] >= ORDER[Step.WAIT_FOR_TURN]
                operators = people.with_role(Who.OPERATOR) if pace is Pace.BLOCKED and late else ()
                own = tuple(sorted(self.authors & people.persons.keys())) or people.with_role(Who.DEVELOPER)
                return tuple(dict.fromkeys((*own, *operators)))
            case _:
                return ()

    def _deciders(self, gate: GateRow) -> tuple[PersonName, ...]:
        """Return those whose word would count: not who has spoken, not who worked on it, not who filled a role."""
        people = self.project.people
        policy = people.policies[gate.step]
        heard = self._voices()
        given = {v.person for v in heard if v.gate == gate.step and v.kind is DecisionKind.APPROVE}
        kind = DecisionKind.KEEP if DecisionKind.KEEP in policy.kinds else DecisionKind.APPROVE
        return tuple(
            name
            for name in people.with_role(*policy.roles)
            if name not in given
            and people.may_decide(name, gate=gate.step, kind=kind, authors=self.authors, voices=heard)
        )

    def _voices(self) -> tuple[Voice, ...]:
        said = self.facts.decisions.get(self.feature.id, ())
        return counted(self.project, said, authors=self.authors, candidate=self.facts.candidates.get(self.feature.id))

    def _turn(self) -> tuple[int, str, str]:
        """Return the place in the queue, the key that holds production, and why production is frozen."""
        row = self.facts.projects.get(self.feature.project)
        if row is None or self.gate is None or self.gate.step is not Step.WAIT_FOR_TURN:
            return 0, "", ""
        place = row.queue.index(self.feature.id) + 1 if self.feature.id in row.queue else 0
        holder = row.lock_feature_id
        behind = self.keys.get(holder, "") if holder is not None and holder != self.feature.id else ""
        frozen = row.frozen_reason or self._calendar()
        return place, "" if frozen else behind, frozen

    def _calendar(self) -> str:
        """Return the sentence of the freeze window that keeps it from production; empty when none does."""
        freeze = freeze_at(self.project.freezes, now()) if self.project.freezes else None
        said = self.facts.decisions.get(self.feature.id, ())
        if freeze is None or any(_overrides(freeze, one) for one in said):
            return ""
        return frozen_sentence(self.project, freeze)

    def _tests(self) -> Tests | None:
        found = self.facts.suites.get(self.feature.id, ())
        if not found:
            return None
        red = next((suite.red for suite in found if suite.red), "")
        return Tests(executed=sum(s.executed for s in found), failed=sum(s.failed for s in found), red=red)

    def _places(self) -> tuple[tuple[str, str], ...]:
        found: list[PlaceRow] = list(self.facts.places.get(self.feature.id, ()))
        production = self.facts.production.get(self.feature.project)
        in_production = self.promotion in OPEN_PROMOTIONS or self.feature.state is FeatureState.SHIPPED
        if production is not None and in_production:
            found.append(production)
        return tuple((place.kind, place.address) for place in found)


def _overrides(freeze: Freeze, said: DecisionRow) -> bool:
    """Say whether it was about this window, as ``flags.frozen`` asks: a later one needs a word of its own."""
    return said.kind is DecisionKind.OVERRIDE and said.step is Step.WAIT_FOR_TURN and said.at >= freeze.since
