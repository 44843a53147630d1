"""Whether a team can sign a feature off, against the rule that says whose word counts."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import DEFAULT_POLICIES, SIGN_OFFS, DecisionKind, GatePolicy, People, Person, Voice
from feature_delivery.domain.process import Who
from feature_delivery.domain.team import why_stuck

ALL = "[developer, reviewer, tester, manager, operator]"


def said_of(people: str, more: str = "") -> str:
    text = f"name: shop\nrepository: /srv/shop.git\npeople:\n{people}\n{more}"
    return why_stuck(parse_project(text, where="shop.yaml").people)


def everybody(*names: str) -> str:
    return "\n".join(f"  {name}: {{roles: {ALL}}}" for name in names)


ONE_FOR_ALL = "  ann: {roles: [developer]}\n  max: {roles: [reviewer, tester, manager, operator]}"
FOUR = "  ann: {roles: [developer]}\n  rob: {roles: [reviewer]}\n  tom: {roles: [tester]}\n  max: {roles: [manager]}"


def test_a_person_who_would_have_to_sign_off_thrice_is_named_with_the_gates_and_the_ways_out() -> None:
    assert said_of(ONE_FOR_ALL) == (
        "Review, acceptance and confirmation take 3 people, each another one, and only max may decide there: no "
        "feature can be signed off. Name more people, skip gates ('gates: {confirmation: {skip: true}}'), "
        "or say 'solo: true'."
    )


def test_only_gates_that_lack_somebody_are_named() -> None:
    assert said_of(FOUR.replace("tester", "developer").replace("manager", "manager, tester")).startswith(
        "Acceptance and confirmation take 2 people, each another one, and only max may decide there:"
    )


@pytest.mark.parametrize("names", [("ann",), ("ann", "bob"), ("ann", "bob", "cid")])
def test_fewer_than_four_who_share_all_roles_are_stuck_unless_they_say_solo(names: tuple[str, ...]) -> None:
    assert "can be signed off" in said_of(everybody(*names))
    assert said_of(everybody(*names), "solo: true") == ""


def test_three_who_share_all_roles_lack_one_besides_the_author() -> None:
    assert said_of(everybody("ann", "bob", "cid")).startswith(
        "Review, acceptance and confirmation take 3 people, each another one and none of them the author, and only bob "
        "and cid may decide there when ann is the author, and too few when another developer is: no feature"
    )


@pytest.mark.parametrize(
    ("people", "more"),
    [
        (FOUR, ""),
        (everybody("ann", "bob", "cid", "dan"), ""),
        (everybody("ann", "bob"), "gates: {acceptance: {skip: true}, confirmation: {skip: true}}"),
        (ONE_FOR_ALL, "gates: {acceptance: {skip: true}, confirmation: {skip: true}}"),
        # What Rob writes nobody can review; what Ann writes, he can.
        (FOUR.replace("[reviewer]", "[developer, reviewer]"), ""),
        # A deputy counts as the person acting.
        (FOUR.replace("[tester]}", "[operator]}").replace("[manager]", "[manager, tester], deputy: tom"), ""),
        # Nobody is named as a developer: the author may be anybody.
        (everybody("ann", "bob", "cid").replace("developer, ", ""), "gates: {start: {skip: true}}"),
        # How many a group has is not known.
        (ONE_FOR_ALL, "groups: {testers: [tester], managers: [manager]}"),
        (everybody("ann", "bob", "cid"), "groups: {devs: [developer]}"),
    ],
)
def test_a_team_that_can_work_is_left_alone(people: str, more: str) -> None:
    assert said_of(people, more) == ""


def can_ship(people: People, author: PersonName | None) -> bool:
    """Try everybody at every gate by the rule itself."""
    gates = [gate for gate in SIGN_OFFS for _ in range(people.policies[gate].count)]
    for order in permutations(people.persons, len(gates)):
        voices: list[Voice] = []
        for person, gate in zip(order, gates, strict=True):
            authors = frozenset({author} if author else ())
            answer = people.may_decide(person, gate=gate, kind=DecisionKind.APPROVE, authors=authors, voices=voices)
            voices += [Voice(gate, person, DecisionKind.APPROVE)] if answer else []
        if all(people.satisfied(gate, voices) for gate in SIGN_OFFS):
            return True
    return False


NAMES = st.sampled_from([PersonName(name) for name in "abcd"])
PERSONS = st.dictionaries(
    NAMES, st.tuples(st.frozensets(st.sampled_from(list(Who)[1:]), min_size=1), st.none() | NAMES), min_size=1
)


@settings(max_examples=40)
@given(roles=PERSONS, reviewers=st.integers(1, 2))
def test_a_team_is_stuck_exactly_when_no_developer_s_work_can_be_signed_off(
    roles: dict[PersonName, tuple[frozenset[Who], PersonName | None]], reviewers: int
) -> None:
    policies = DEFAULT_POLICIES | {SIGN_OFFS[0]: GatePolicy(frozenset({Who.REVIEWER}), count=reviewers)}
    persons = {
        name: Person(name, own, deputy=deputy if deputy in roles else None) for name, (own, deputy) in roles.items()
    }
    people = People(persons, policies=policies)
    authors: list[PersonName | None] = [name for name, (own, _) in roles.items() if Who.DEVELOPER in own]
    assert (why_stuck(people) == "") == any(can_ship(people, author) for author in authors or [None])
