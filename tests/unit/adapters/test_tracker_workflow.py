"""Walking an issue through workflows that are seen from inside only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.trackers.states import Status, goals, meaning
from feature_delivery.adapters.trackers.workflow import MOST_STEPS, PAUSE_SECONDS, Place, Refusals, Way, walk
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.project import TrackerConfig
from feature_delivery.ports.tracker import IssueState

OPEN, BUSY, DONE = IssueState.OPEN, IssueState.IN_PROGRESS, IssueState.DONE


@dataclass
class Issue:
    """An issue in a workflow: which status leads to which others; ``hindered`` ways ask for something."""

    statuses: dict[str, Status]
    edges: dict[str, list[str]]
    at: str
    hindered: set[tuple[str, str]] = field(default_factory=set)
    diverted: dict[str, str] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def look(self) -> Place:
        ways = [
            Way(
                f"{self.at}>{to}",
                f"To {to}",
                self.statuses[to],
                "It asks for 'Severity'." * ((self.at, to) in self.hindered),
            )
            for to in self.edges.get(self.at, [])
        ]
        return Place(self.statuses[self.at], tuple(ways))

    def take(self, way: Way) -> None:
        assert way.to.name in self.edges[self.at]
        assert not way.hindrance
        self.at = self.diverted.get(way.to.name, way.to.name)
        self.steps.append(self.at)


def issue(workflow: str, *, states: str, at: str = "A") -> Issue:
    """Make an issue: ``A>B C, B>D`` and ``A:open B:busy …`` by first letters o, i, d."""
    meanings = {"o": OPEN, "i": BUSY, "d": DONE}
    pairs = [one.split(":") for one in states.split()]
    edges = {begin.strip(): ends.split() for begin, _, ends in (one.partition(">") for one in workflow.split(","))}
    return Issue({name: Status(name, meanings[letter]) for name, letter in pairs}, edges, at)


def go(one: Issue, *ends: str) -> None:
    walk(one, [one.statuses[end] for end in ends], doing="move SHOP-1", site="", refused=Refusals())


def test_a_direct_transition_is_taken() -> None:
    one = issue("A>B C D", states="A:o B:i C:i D:d")
    go(one, "D")
    assert one.steps == ["D"]


def test_the_shortest_way_is_found_over_statuses_in_between() -> None:
    one = issue("A>B X, B>C, C>D, X>A", states="A:o X:o B:i C:i D:d")
    go(one, "D")
    assert one.at == "D"
    assert one.steps == ["B", "C", "D"]


def test_a_dead_end_is_left_again() -> None:
    one = issue("A>B C, B>A, C>D", states="A:o B:i C:i D:d")
    go(one, "D")
    assert one.steps == ["B", "A", "C", "D"]


def test_what_led_nowhere_is_not_walked_again_for_a_day_but_a_direct_transition_is_taken() -> None:
    now = [0.0]
    refused = Refusals(lambda: now[0])
    one = issue("A>B, B>A C, C>B", states="A:o B:i C:i D:d")

    def again() -> str:
        with pytest.raises(Refused) as caught:
            walk(one, [one.statuses["D"]], doing="move SHOP-1", site="https://x", refused=refused)
        assert one.at == "A"
        return str(caught.value)

    said = again()
    assert one.steps
    one.steps.clear()
    assert [again() for _ in range(30)] == [said] * 30, "people are told of what changes"
    assert one.steps == []
    now[0] = PAUSE_SECONDS
    assert again() == said
    assert one.steps
    one.edges["A"].append("D")
    one.steps.clear()
    walk(one, [one.statuses["D"]], doing="move SHOP-1", site="https://x", refused=refused)
    assert one.steps == ["D"]
    one.at = "C"  # somebody moved it: from there it was not walked yet
    one.edges["B"].append("D")
    walk(one, [one.statuses["D"]], doing="move SHOP-1", site="https://x", refused=refused)
    assert one.at == "D"


def test_no_other_end_is_passed_on_the_way() -> None:
    one = issue("A>R B, R>D I, B>R", states="A:o B:i R:d D:d I:i")
    for end in ("D", "I"):
        with pytest.raises(Refused, match=f"no way to '{end}'"):
            go(one, end)
    assert "R" not in one.steps


def test_what_asks_for_fields_is_not_taken_and_named() -> None:
    one = issue("A>D B, B>D A", states="A:o B:i D:d")
    one.hindered = {("A", "D"), ("B", "D")}
    with pytest.raises(Refused, match=r"the issue is back in 'A'. It asks for 'Severity'.") as caught:
        go(one, "D")
    assert one.at == "A"
    assert "From 'B' it leads to 'A'" in str(caught.value)
    one.hindered = {("A", "D")}
    one.steps.clear()
    go(one, "D")
    assert one.steps == ["B", "D"]


def test_a_transition_that_leads_elsewhere_is_not_tried_for_ever() -> None:
    one = issue("A>B, B>A", states="A:o B:i D:d")
    one.diverted = {"B": "A"}
    with pytest.raises(Refused):
        go(one, "D")
    assert one.steps == ["A"]


def test_a_walk_has_an_end_in_endless_workflows() -> None:
    names = [f"S{n}" for n in range(60)]
    edges = {name: [after] for name, after in pairwise(names)}
    one = Issue({name: Status(name, BUSY) for name in [*names, "D"]}, edges, "S0")
    with pytest.raises(Refused):
        go(one, "D")
    assert len(one.steps) <= MOST_STEPS


@st.composite
def workflows(draw: st.DrawFn) -> tuple[Issue, str]:
    count = draw(st.integers(2, 7))
    names = [f"S{n}" for n in range(count)]
    statuses = {name: Status(name, draw(st.sampled_from(IssueState))) for name in names}
    edges = {name: draw(st.lists(st.sampled_from(names), unique=True, max_size=4)) for name in names}
    edges = {name: [to for to in ends if to != name] for name, ends in edges.items()}
    pairs = [(begin, end) for begin, ends in edges.items() for end in ends]
    hindered = draw(st.sets(st.sampled_from(pairs), max_size=3)) if pairs else set()
    return Issue(statuses, edges, names[0], hindered), draw(st.sampled_from(names[1:]))


def reachable(one: Issue, end: str) -> set[str]:
    """Return where ways lead that pass no end but ``end`` and where we began."""
    found, waiting = {one.at}, deque([one.at])
    while waiting:
        here = waiting.popleft()
        for to in one.edges[here]:
            allowed = to in {end, one.at} or one.statuses[to].state is not DONE
            if to not in found and allowed and (here, to) not in one.hindered and here != end:
                found.add(to)
                waiting.append(to)
    return found


def arrives(one: Issue, end: str) -> bool:
    try:
        go(one, end)
    except Refused:
        return False
    return True


@given(workflows())
def test_whatever_the_workflow_no_end_is_passed_and_nothing_is_left_halfway(case: tuple[Issue, str]) -> None:
    one, end = case
    begin, possible = one.at, reachable(one, end)
    if arrives(one, end):
        assert one.at == end
        assert end in possible
    else:
        assert one.at != end
        way_back = begin in reachable(Issue(one.statuses, one.edges, one.at, one.hindered), begin)
        assert one.at == begin or not way_back or len(one.steps) >= MOST_STEPS
    others = {name for name in one.steps if one.statuses[name].state is DONE} - {begin, end}
    assert not others, "an end that nobody asked for was passed"


@given(workflows())
def test_where_every_step_can_be_taken_back_a_way_that_is_there_is_found(case: tuple[Issue, str]) -> None:
    one, end = case
    one.hindered.clear()
    for begin, ends in one.edges.items():
        for to in ends:
            one.edges[to] += [begin] * (begin not in one.edges[to])
    possible = end in reachable(one, end)
    assert arrives(one, end) is possible or len(one.steps) >= MOST_STEPS


def config(**states: tuple[str, ...]) -> TrackerConfig:
    return TrackerConfig(kind="jira", project="SHOP", states=states)


def statuses(**named: IssueState) -> list[Status]:
    return [Status(name.replace("_", " "), state) for name, state in named.items()]


def test_the_projects_words_come_before_what_the_tracker_says() -> None:
    words = config(open=("Ready",), done=("Shipped", "Released"))
    assert meaning(words, "READY", DONE).state is OPEN
    assert meaning(words, "released", OPEN).state is DONE
    assert meaning(words, "Other", BUSY).state is BUSY


def test_the_first_word_that_the_workflow_has_is_moved_to() -> None:
    there = statuses(Open=OPEN, Released=DONE, Rejected=DONE)
    assert [one.name for one in goals(config(done=("Shipped", "released")), DONE, there, doing="move")] == ["Released"]
    with pytest.raises(Refused, match=r"no status 'Shipped'. It has 'Open', 'Released', 'Rejected'"):
        goals(config(done=("Shipped",)), DONE, there, doing="move")


def test_without_words_the_usual_name_or_the_only_status_is_moved_to() -> None:
    there = statuses(To_Do=OPEN, Doing=BUSY, Review=BUSY, Wont_do=DONE, Done=DONE)
    assert [one.name for one in goals(config(), DONE, there, doing="move")] == ["Done"]
    assert [one.name for one in goals(config(), BUSY, there, doing="move")] == ["Doing", "Review"]
    assert [one.name for one in goals(config(), DONE, statuses(Fertig=DONE), doing="move")] == ["Fertig"]


def test_two_ends_without_a_word_are_not_guessed_at() -> None:
    with pytest.raises(Refused, match=r"ends in 'Fertig', 'Verworfen'.*tracker\.states\.done"):
        goals(config(), DONE, statuses(Fertig=DONE, Verworfen=DONE), doing="move")
    with pytest.raises(Refused, match=r"no status of the workflow means that.*tracker\.states\.in_progress"):
        goals(config(), BUSY, statuses(Open=OPEN), doing="move")
