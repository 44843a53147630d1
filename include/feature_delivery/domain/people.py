"""People, their roles, and the policy that says whose word counts at a gate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from feature_delivery.domain.names import PersonName
from feature_delivery.domain.process import Step, Who

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class DecisionKind(StrEnum):
    """What a person may say at a gate."""

    APPROVE = "approve"
    REJECT = "reject"
    ROLL_BACK = "roll_back"
    KEEP = "keep"
    OVERRIDE = "override"  # break glass: of a freeze
    FREE_LOCK = "free_lock"  # break glass: of production's lock


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a project.

    Attributes:
        name: The Airflow user name; the key everywhere.
        roles: What the person may decide.
        emails: Addresses found in commits, lower case; a commit author never approves.
        logins: Names on the Git host and the tracker.
        deputy: Who may act in this person's place; a deputy counts as the person acting.
    """

    name: PersonName
    roles: frozenset[Who]
    emails: frozenset[str] = frozenset()
    logins: frozenset[str] = frozenset()
    deputy: PersonName | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody as the service knows them that people log in with; ``groups``: their roles and groups there."""

    name: PersonName
    groups: frozenset[str]
    emails: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Membership:
    """Who is in groups, as the service says that people log in with.

    ``known``: it has said so lately. Else there is nobody here, and nothing follows from that.
    """

    members: tuple[Member, ...] = ()
    known: bool = True


class Authored(Protocol):
    """An attempt, as far as it is asked whose work it is."""

    @property
    def authors(self) -> Sequence[PersonName]:
        """People of the project who wrote, pushed or opened it."""

    @property
    def strangers(self) -> Sequence[str]:
        """E-mail addresses and logins of others who did, who may turn out to be people of the project."""


class Expiry(StrEnum):
    """What a gate's deadline does."""

    REJECT = "reject"
    EVIDENCE = "evidence"
    REMIND = "remind"


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """Who decides at a gate, how many of them, until when.

    ``timeout`` ``None``: the gate waits for ever and only reminds.
    """

    roles: frozenset[Who]
    count: int = 1
    timeout: timedelta | None = None
    on_expiry: Expiry = Expiry.REMIND
    kinds: frozenset[DecisionKind] = frozenset({DecisionKind.APPROVE, DecisionKind.REJECT})


DAY = timedelta(days=1)
VERDICTS = frozenset({DecisionKind.KEEP, DecisionKind.ROLL_BACK})

DEFAULT_POLICIES: dict[Step, GatePolicy] = {
    Step.WAIT_FOR_START: GatePolicy(frozenset({Who.DEVELOPER}), kinds=frozenset({DecisionKind.APPROVE})),
    Step.WAIT_FOR_REVIEW: GatePolicy(frozenset({Who.REVIEWER}), timeout=3 * DAY),
    Step.WAIT_FOR_ACCEPTANCE: GatePolicy(frozenset({Who.TESTER}), timeout=14 * DAY, on_expiry=Expiry.REJECT),
    Step.WAIT_FOR_CONFIRMATION: GatePolicy(frozenset({Who.MANAGER}), timeout=14 * DAY, on_expiry=Expiry.REJECT),
    Step.WAIT_FOR_VERDICT: GatePolicy(
        frozenset({Who.MANAGER, Who.OPERATOR}), timeout=DAY, on_expiry=Expiry.EVIDENCE, kinds=VERDICTS
    ),
    Step.WAIT_FOR_DEMONSTRATION: GatePolicy(
        frozenset({Who.MANAGER}), timeout=30 * DAY, kinds=frozenset({DecisionKind.APPROVE})
    ),
}
"""Gates that people decide; every other gate waits for an event."""

SIGN_OFFS: tuple[Step, ...] = (Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_CONFIRMATION)
"""Gates whose approval an attempt must carry to reach production, each by another person."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One accepted decision of the attempt, as the policy sees it; ``glass``: given by breaking glass."""

    gate: Step
    person: PersonName
    kind: DecisionKind
    glass: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no with its reason; the same sentence goes to log, API, board and Slack."""

    yes: bool
    reason: str = ""

    def __bool__(self) -> bool:
        """``if answer:`` reads like the question."""
        return self.yes


@dataclass(frozen=True, slots=True)
class People:
    """Everybody of a project.

    ``solo``: one person may fill several roles and approve an own change; meant for teams that are too small otherwise.
    ``groups``: which of our roles come with a role or group of the service that people log in with.
    ``known``: who is in them is known; else who is nobody here may be somebody, and whoever is may have more roles.
    """

    persons: dict[PersonName, Person]
    policies: dict[Step, GatePolicy] = field(default_factory=lambda: dict(DEFAULT_POLICIES))
    solo: bool = False
    groups: dict[str, frozenset[Who]] = field(default_factory=dict)
    known: bool = True
    _callings: dict[str, frozenset[PersonName]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_members(self, membership: Membership) -> People:
        """Return everybody, those too whom only ``groups`` make people of the project.

        What is said of a person here stays (logins, deputy); groups only add roles and addresses.
        """
        persons = dict(self.persons)
        for member in membership.members:
            mine = [self.groups[group] for group in member.groups if group in self.groups]
            roles = frozenset(role for some in mine for role in some)
            if not roles:
                continue
            known = persons.get(member.name, Person(name=member.name, roles=frozenset()))
            persons[member.name] = replace(known, roles=known.roles | roles, emails=known.emails | member.emails)
        return replace(self, persons=persons, known=membership.known)

    def with_role(self, *roles: Who) -> tuple[PersonName, ...]:
        """Return the names of everybody who has one of ``roles``, deputies included."""
        found = {name for name, person in self.persons.items() if person.roles & set(roles)}
        found |= {deputy for name in found if (deputy := self.persons[name].deputy)}
        return tuple(sorted(found))

    def role_at(self, person: str, gate: Step) -> str:
        """Return as what ``person`` speaks at ``gate``: the role that decides there, whose deputy, else their own."""
        known = self.persons.get(PersonName(person))
        if known is None:
            return ""
        wanted = self.policies[gate].roles if gate in self.policies else frozenset({Who.OPERATOR})
        if mine := known.roles & wanted:
            return " and ".join(sorted(mine))
        for one in self.persons.values():
            if one.deputy == person and (theirs := one.roles & wanted):
                return f"{' and '.join(sorted(theirs))}, deputy of {one.name}"
        return " and ".join(sorted(known.roles))

    def by_login(self, login: str) -> PersonName | None:
        """Return the person who may be meant by ``login`` on a host or tracker: by one of their logins, or their name.

        For authors: rather one too many is barred from approving. Hosts tell no capitals from small letters.
        """
        wanted = login.casefold()
        if not wanted:
            return None
        for name, person in self.persons.items():
            if wanted in {name.casefold(), *(each.casefold() for each in person.logins)}:
                return name
        return None

    def speaking_as(self, login: str) -> PersonName | None:
        """Return the person whose word counts when ``login`` says it on a host.

        Who lists logins is known there by these alone: anybody may have an account of the same name as ours.
        """
        wanted = login.casefold()
        for name, person in self.persons.items():
            if wanted in {each.casefold() for each in person.logins or {name}}:
                return name
        return None

    def by_emails(self, emails: Iterable[str]) -> frozenset[PersonName]:
        """Return everybody who wrote under one of ``emails``."""
        wanted = {email.lower() for email in emails}
        return frozenset(name for name, person in self.persons.items() if person.emails & wanted)

    def meant_by(self, marks: Iterable[str]) -> frozenset[PersonName]:
        """Return everybody who may be meant by one of ``marks``: an e-mail address, a login, or a name of ours.

        For authors: rather one too many is barred from approving, so all who are called so count, not the first.
        """
        wanted = [mark.casefold() for mark in marks if mark]
        if wanted and not self._callings:
            # Asked of every card of the board: worked out once.
            found: dict[str, frozenset[PersonName]] = {}
            for name, person in self.persons.items():
                for calling in (name, *person.logins, *person.emails):
                    mark = calling.casefold()
                    found[mark] = found.get(mark, frozenset()) | {name}
            self._callings.update(found)  # at once: other threads look in here
        return frozenset().union(*(self._callings.get(mark, frozenset()) for mark in wanted))

    def authors_of(self, attempt: Authored | None) -> frozenset[PersonName]:
        """Return everybody who may not sign off an attempt, by what is known of people today."""
        if attempt is None:
            return frozenset()
        return frozenset(attempt.authors) | self.meant_by(attempt.strangers)

    def may_decide(
        self,
        person: PersonName,
        *,
        gate: Step,
        kind: DecisionKind,
        authors: frozenset[PersonName],
        voices: Iterable[Voice],
    ) -> Answer:
        """Say whether ``person``'s word counts at ``gate``.

        Args:
            person: Who speaks.
            gate: Where.
            kind: What is said.
            authors: Everybody who wrote, pushed or opened the attempt.
            voices: Accepted decisions of this attempt so far.
        """
        policy = self.policies.get(gate)
        if policy is None:
            return Answer(yes=False, reason=f"Nobody decides at {gate}: it waits for an event.")
        if kind not in policy.kinds:
            allowed = " or ".join(sorted(policy.kinds))
            return Answer(yes=False, reason=f"{kind} is no answer at {gate}: say {allowed}.")
        if person not in self.with_role(*policy.roles):
            roles = " or ".join(sorted(policy.roles))
            able = ", ".join(self.with_role(*policy.roles)) or "nobody"
            return Answer(yes=False, reason=f"{person} is not {roles} of this project: {able} may decide at {gate}.")
        if self.solo or gate not in SIGN_OFFS or kind is not DecisionKind.APPROVE:
            return Answer(yes=True)
        if person in authors:
            return Answer(yes=False, reason=f"{person} worked on this commit: somebody else must approve at {gate}.")
        for voice in voices:
            if voice.person == person and voice.gate != gate and voice.gate in SIGN_OFFS and not voice.glass:
                return Answer(
                    yes=False,
                    reason=f"{person} has decided at {voice.gate} already: one person fills one role per commit.",
                )
        return Answer(yes=True)

    def satisfied(self, gate: Step, voices: Iterable[Voice]) -> bool:
        """Say whether enough different people have approved at ``gate``, or somebody broke glass there."""
        policy = self.policies[gate]
        given = [voice for voice in voices if voice.gate == gate and voice.kind is DecisionKind.APPROVE]
        return len({voice.person for voice in given}) >= policy.count or any(voice.glass for voice in given)
