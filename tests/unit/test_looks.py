"""Looking at host and tracker: few calls, nothing lost, whatever order hints come in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.errors import Misconfigured, RateLimited, Unavailable
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, FeatureKey
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Decision, Event
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.control import reconcile
from feature_delivery.services.control.looks import Marks
from tests.support.cooperation import bring
from tests.support.stage import Stage, outside_shop
from tests.support.world import EPOCH, PREPROD

REVIEW, ACCEPTANCE, START = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_START


def calls(stage: Stage) -> dict[str, int]:
    """Return the calls since this was asked last."""
    found = {**stage.host.calls, **{f"tracker.{name}": n for name, n in stage.tracker.calls.items()}}
    stage.host.calls.clear()
    stage.tracker.calls.clear()
    return found


def is_due(stage: Stage) -> bool:
    with stage.begin() as unit:
        return reconcile.due(unit, stage.project)


@pytest.fixture
def many(stage: Stage) -> Stage:
    """Twelve features wait for their review; everything about them is known."""
    for number in range(1, 13):
        stage.at(REVIEW, f"SHOP-{number}")
    stage.time += timedelta(minutes=30)
    stage.settle()
    stage.time += timedelta(minutes=30)
    stage.settle()
    calls(stage)
    return stage


def test_a_full_look_costs_two_listings_however_many_features_wait(many: Stage) -> None:
    many.reconcile()
    assert calls(many) == {"changed_requests": 1, "tracker.changed_issues": 1}


def test_only_what_changed_and_belongs_to_a_feature_is_read(many: Stage) -> None:
    many.word("rob", ReviewKind.APPROVE, key="SHOP-7")
    many.host.open(BranchName("docs/typo"), PREPROD)
    many.reconcile()
    expected = {"changed_requests": 1, "tracker.changed_issues": 1, "request": 1, "comments": 1}
    assert calls(many) == expected
    assert many.parked(many.feature("SHOP-7")) == [ACCEPTANCE]


def test_a_hint_costs_what_it_points_at_and_nothing_else(many: Stage) -> None:
    feature = many.feature("SHOP-7")
    many.word("rob", ReviewKind.APPROVE, key="SHOP-7")
    many.word("rob", ReviewKind.APPROVE, key="SHOP-8")
    many.reconcile([Hint(request=feature.request_number, branch=feature.branch)])
    assert calls(many) == {"request": 1, "comments": 1}
    assert many.parked(many.feature("SHOP-7")) == [ACCEPTANCE]
    assert many.parked(many.feature("SHOP-8")) == [REVIEW]


def test_the_same_hint_many_times_is_one_look(many: Stage) -> None:
    feature = many.feature("SHOP-7")
    many.reconcile([Hint(request=feature.request_number, branch=feature.branch)] * 50)
    assert calls(many) == {"request": 1, "comments": 1}


def test_a_hint_at_nothing_of_ours_costs_nothing(many: Stage) -> None:
    hints = [Hint(branch=BranchName("docs/typo"), request=4711), Hint(issue="4711"), Hint(issue="not a number")]
    many.reconcile(hints)
    assert calls(many) == {}


def test_a_hint_at_an_issue_reads_that_issue() -> None:
    stage = Stage(project=outside_shop(start_gate=True))
    try:
        stage.start("SHOP-1")
        stage.run()
        assert stage.parked(stage.feature()) == [START]
        stage.tracker.edit(FeatureKey("SHOP-1"), assignee="dan")
        calls(stage)
        stage.reconcile([Hint(issue="1")])
        assert calls(stage) == {"tracker.find": 1}
        assert stage.parked(stage.feature()) == [Step.WAIT_FOR_CODE]
    finally:
        stage.close()


def test_a_push_brings_a_look_at_the_request_of_its_branch(many: Stage) -> None:
    feature = many.feature("SHOP-7")
    assert feature.branch is not None
    many.push(feature.branch)
    many.word("rob", ReviewKind.APPROVE, key="SHOP-7")
    many.reconcile([Hint(branch=feature.branch, pushed=True, person="dan")])
    assert many.parked(many.feature("SHOP-7")) == [ACCEPTANCE]
    assert many.feature("SHOP-7").attempt_number == 2


def test_what_happened_while_no_webhook_came_is_found(stage: Stage) -> None:
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    page = stage.opened(feature)
    stage.host.review(page.request.number, "rob", ReviewKind.APPROVE)
    stage.witness.reviews.add(("rob", page.request.head))
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_a_host_that_is_down_for_hours_loses_nothing(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.host.down = Unavailable("The host is down.")
    stage.word("rob", ReviewKind.APPROVE)
    stage.write("tom", "/approve acceptance")
    for _ in range(10):
        stage.time += timedelta(hours=1)
        found = stage.reconcile()
        assert "merge requests: The host is down." in found
    stage.host.down = None
    stage.reconcile()
    assert stage.parked(stage.feature()) == [Step.WAIT_FOR_CONFIRMATION]


def test_a_request_that_could_not_be_read_is_read_again_though_it_changes_no_more(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", ReviewKind.APPROVE)
    stage.write("tom", "/approve acceptance")
    stage.host.refuses["comments"] = Unavailable("Comments are down.")
    stage.reconcile()
    del stage.host.refuses["comments"]
    stage.time += timedelta(hours=5)
    stage.reconcile()
    assert stage.parked(stage.feature()) == [Step.WAIT_FOR_CONFIRMATION]
    calls(stage)
    stage.time += timedelta(hours=1)
    stage.reconcile()
    assert calls(stage) == {"changed_requests": 1, "tracker.changed_issues": 1}


def test_a_host_that_asks_to_wait_is_asked_nothing_more_before_and_nothing_is_lost(many: Stage) -> None:
    for number in (7, 8, 9):
        many.word("rob", ReviewKind.APPROVE, key=f"SHOP-{number}")
    many.host.refuses["request"] = RateLimited("Wait.", retry_after_seconds=600)
    many.reconcile()
    assert calls(many) == {"changed_requests": 1, "request": 1, "tracker.changed_issues": 1}
    del many.host.refuses["request"]
    found = many.reconcile()
    assert [line[:31] for line in found] == ["The Git host is not asked before"[:31]]
    many.write("tom", "/approve acceptance", key="SHOP-9")
    feature = many.feature("SHOP-9")
    many.reconcile([Hint(request=feature.request_number, branch=feature.branch), Hint(issue="9")])
    assert calls(many) == {"tracker.changed_issues": 1, "tracker.find": 1}
    assert not is_due(many)
    many.time += timedelta(minutes=10)
    many.reconcile([Hint(issue="9")])
    assert is_due(many), "a webhook after the wait tells nothing of those that came in it"
    calls(many)
    many.reconcile()
    assert calls(many) == {"changed_requests": 1, "request": 3, "comments": 3, "tracker.changed_issues": 1}
    assert not is_due(many)
    assert [many.parked(many.feature(f"SHOP-{n}")) for n in (7, 8)] == [[ACCEPTANCE]] * 2
    assert many.parked(many.feature("SHOP-9")) == [Step.WAIT_FOR_CONFIRMATION]


def test_a_tracker_that_asks_a_hint_to_wait_is_left_alone_by_the_next_look_too(many: Stage) -> None:
    many.tracker.refuses["find"] = RateLimited("Wait.")
    many.reconcile([Hint(issue="9"), Hint(issue="8")])
    many.time -= timedelta(seconds=30)
    many.reconcile()
    assert calls(many) == {"tracker.find": 1, "changed_requests": 1}
    many.reconcile()
    assert calls(many) == {"changed_requests": 1, "tracker.changed_issues": 1}


def test_one_side_that_is_down_keeps_the_other_from_nothing() -> None:
    stage = Stage(project=outside_shop(start_gate=True))
    try:
        stage.start("SHOP-1")
        stage.run()
        stage.host.down = Misconfigured("The token is refused.")
        stage.tracker.edit(FeatureKey("SHOP-1"), state=IssueState.IN_PROGRESS)
        stage.reconcile()
        assert stage.parked(stage.feature()) == [Step.WAIT_FOR_CODE]
        stage.host.down, stage.tracker.down = None, Unavailable("The tracker is down.")
        bring(stage, "SHOP-1", REVIEW)
        assert stage.parked(stage.feature()) == [REVIEW]
    finally:
        stage.close()


def test_a_hint_that_could_not_be_followed_is_worth_another_try(stage: Stage) -> None:
    stage.at(REVIEW)
    hint = Hint(request=stage.page().request.number)
    stage.host.down = Unavailable("The host is down.")
    with pytest.raises(Unavailable, match="The host is down"):
        stage.reconcile([hint])
    stage.host.down = RateLimited("Wait.", retry_after_seconds=600)
    assert "Wait." in " ".join(stage.reconcile([hint]))
    stage.time += timedelta(minutes=10)
    stage.host.down = Misconfigured("The token is refused.")
    assert "The token is refused." in " ".join(stage.reconcile([hint]))


def test_a_clock_of_the_host_that_is_behind_hides_nothing(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.settle()
    stage.word("rob", ReviewKind.APPROVE)
    stage.page().changed_at -= timedelta(minutes=4)
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_what_we_write_ourselves_sets_nothing_going(many: Stage) -> None:
    """Our comments and statuses change requests: looking at those again must not make us write again."""
    for _ in range(5):
        many.reconcile()
        many.errands()
    found = calls(many)
    assert "set_status" not in found
    assert "comment" not in found


def test_marks_are_kept_as_they_are() -> None:
    marks = Marks(looked_at=EPOCH, requests=EPOCH + timedelta(hours=1), issues=None, again={7: EPOCH})
    assert Marks.load(marks.dump()) == marks
    assert Marks.load(Marks().dump()) == Marks()


def test_it_is_time_to_look_everywhere_every_few_minutes(stage: Stage) -> None:
    assert is_due(stage)
    stage.reconcile()
    assert not is_due(stage)
    stage.time += timedelta(minutes=4)
    assert not is_due(stage)
    stage.time += timedelta(minutes=1)
    assert is_due(stage)


MOVES: dict[str, Callable[[Stage], None]] = {
    "approve": lambda stage: stage.word("rob", ReviewKind.APPROVE),
    "dismiss": lambda stage: stage.host.dismiss(stage.page().request.number, "rob"),
    "say": lambda stage: stage.write("tom", "/approve acceptance"),
}


@given(st.lists(st.sampled_from(["approve", "dismiss", "say"]), max_size=5), st.randoms(use_true_random=False))
def test_the_order_and_number_of_hints_make_no_difference(moves: list[str], random: object) -> None:
    """After each event the state is read from the host: hints that come late, twice or never end in the same."""
    ends = []
    for way in ("each", "late", "never"):
        stage = Stage()
        try:
            stage.at(REVIEW)
            page = stage.page()
            hints = [Hint(request=page.request.number), Hint(branch=page.request.source), Hint(issue="1")]
            for move in moves:
                MOVES[move](stage)
            for _ in moves if way == "each" else ():
                random.shuffle(hints)  # type: ignore[attr-defined]
                stage.reconcile(hints)
            if way == "late":
                stage.reconcile(hints[::-1] * 3)
            stage.reconcile()
            stage.reconcile()
            said = [(d.step, d.person, d.kind, d.accepted) for d in stage.books.of(Decision)]
            ends.append((stage.parked(stage.feature()), sorted(said)))
        finally:
            stage.close()
    assert ends[0] == ends[1] == ends[2]


def test_two_looks_at_once_take_in_the_same_once(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", ReviewKind.APPROVE)
    stage.reconcile()
    events = len(stage.books.of(Event))
    stage.reconcile([Hint(request=stage.page().request.number)])
    assert len(stage.books.of(Event)) == events
    assert len(stage.pending(Errand.SHOW)) == 1
