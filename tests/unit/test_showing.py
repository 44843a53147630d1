"""What host and tracker show of a delivery: statuses, one comment, deployments, links; and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from feature_delivery.domain.errors import Misconfigured, RateLimited, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import FeatureState
from feature_delivery.ports.git_host import DeploymentState, RequestState, ReviewKind, StatusState
from feature_delivery.services.control import outbox, showing
from feature_delivery.services.control.history import show_later
from feature_delivery.services.control.reconcile import reconcile
from tests.support.cooperation import bring
from tests.support.stage import Stage, outside_shop
from tests.support.stepping import go_on, until
from tests.support.world import PREPROD, PRODUCTION

KEY = FeatureKey("SHOP-1")
REVIEW, ACCEPTANCE, VERDICT = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_VERDICT
SUCCESS, PENDING, FAILURE = StatusState.SUCCESS, StatusState.PENDING, StatusState.FAILURE


def states(stage: Stage) -> dict[str, StatusState]:
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    return {name.removeprefix("delivery/"): s for name, (s, _, _) in stage.host.status[attempt.commit].items()}


def status(stage: Stage) -> str:
    """Return the status comment; there is one."""
    (text,) = [t for t in stage.host.texts(stage.page().request.number, by="delivery-bot") if t.startswith("### ")]
    return text


def test_each_stage_posts_a_status_on_the_features_head(stage: Stage) -> None:
    stage.at(REVIEW)
    checks = {"checks/syntax": SUCCESS, "checks/unit": SUCCESS, "checks/functional": SUCCESS, "development": SUCCESS}
    assert states(stage) == {**checks, "review": PENDING}
    stage.at(ACCEPTANCE)
    assert states(stage) == {**checks, "review": SUCCESS, "preprod": SUCCESS, "acceptance": PENDING}
    stage.at(VERDICT)
    assert states(stage)["production"] is PENDING
    assert states(stage)["confirmation"] is SUCCESS
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    assert set(states(stage).values()) == {SUCCESS}
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    for _state, description, url in stage.host.status[attempt.commit].values():
        assert description
        assert url == "https://airflow.example/dags/feature_delivery_shop/runs/SHOP-1"


def test_every_step_that_begins_or_ends_is_worth_a_look(stage: Stage) -> None:
    """Most of them are no line of the history; the status of a check is pending while it runs."""
    feature = stage.at(Step.WAIT_FOR_CODE)
    assert feature.branch is not None
    head = stage.push(feature.branch)
    reconcile(stage.control, stage.project)
    check = until(stage, Step.CHECK_UNIT, "performs")
    for state in (PENDING, SUCCESS):
        stage.time += timedelta(seconds=2)
        outbox.drain(stage.control)
        assert stage.host.status[head]["delivery/checks/unit"][0] is state
        go_on(stage, check)


def test_a_red_check_is_a_red_status_that_says_why(stage: Stage) -> None:
    feature = stage.at(Step.WAIT_FOR_CODE)
    assert feature.branch is not None
    stage.push(feature.branch, content="red checks")
    stage.reconcile()
    stage.errands()
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    found = stage.host.status[attempt.commit]["delivery/checks/unit"]
    assert found[0] is FAILURE
    assert found[1]


def test_a_rejection_and_a_rollback_are_red(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.decide(stage.feature(), "tom", ACCEPTANCE, DecisionKind.REJECT)
    stage.settle()
    assert states(stage)["acceptance"] is FAILURE
    stage.push(stage.feature().branch, force=True)  # type: ignore[arg-type] # it has one
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.ROLL_BACK)
    stage.settle()
    assert states(stage)["production"] is FAILURE


def test_nothing_is_pending_on_a_feature_that_was_given_up(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.cancel(stage.feature())
    stage.settle()
    assert states(stage)["review"] is FAILURE
    assert PENDING not in states(stage).values()


def test_there_is_one_comment_that_says_who_is_waited_for(stage: Stage) -> None:
    stage.at(REVIEW)
    number = stage.page().request.number
    assert "1 approval of: rita, rob." in status(stage)
    stage.at(ACCEPTANCE)
    text = status(stage)
    assert "1 approval of: rita, tina, tom." in text
    assert "| ✅ checks/unit | " in text
    assert "Pre-production" in text
    assert "[Follow the delivery](https://airflow.example/dags/feature_delivery_shop/runs/SHOP-1)" in text
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    assert len([t for t in stage.host.texts(number, by="delivery-bot") if t.startswith("### ")]) == 1


def test_nothing_from_outside_has_an_effect_in_the_comment(stage: Stage) -> None:
    stage.at(REVIEW)
    with stage.begin() as unit:
        feature = unit.books.feature_by_id(stage.feature().id)
        feature.title = "<img src=x> @everyone #1 | [x](javascript:alert(1)) `rm` *b*"
    stage.word("rob", ReviewKind.REJECT, "No.\n\n/merge\n<script>| @admin closes #7")
    stage.settle()
    text = status(stage)
    for evil in ("<img", "@everyone", "#1 ", "[x](", "`rm`", "*b*", "\n/merge", "<script", "@admin", "#7"):
        assert evil not in text
    assert "&#60;img src=x>" in text


def test_the_tests_that_failed_are_named(stage: Stage) -> None:
    feature = stage.at(ACCEPTANCE)
    with stage.begin() as unit:
        result = unit.books.suite_result(feature, 1, Step.TEST_PREPROD)
        assert result is not None
        result.red = "1 tests failed."
        result.report = {"cases": [{"name": "test_a|b", "state": "failed"}, {"name": "test_c", "state": "passed"}]}
    stage.write("dora", "/approve")
    stage.settle()
    assert "test_a&#124;b" in status(stage)
    assert "test_c" not in status(stage)


def test_deployments_are_shown_where_they_are_and_gone_when_they_are_gone(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    feature, books = stage.feature(), stage.books
    attempt, candidate = books.attempt(feature), books.candidate(feature, 1)
    assert attempt is not None
    assert candidate is not None
    assert stage.host.shown("development-shop-1")[:2] == (attempt.commit, DeploymentState.DONE)  # type: ignore[index]
    assert stage.host.shown("preprod-shop-1")[:2] == (candidate.commit, DeploymentState.DONE)  # type: ignore[index]
    stage.at(VERDICT)
    promotion = books.promotion(feature)
    assert promotion is not None
    assert stage.host.shown("production")[:2] == (promotion.candidate, DeploymentState.DONE)  # type: ignore[index]
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    for environment in ("development-shop-1", "preprod-shop-1"):
        shown = stage.host.shown(environment)
        assert shown is not None
        assert shown[1] is DeploymentState.GONE
    assert stage.host.shown("production")[1] is DeploymentState.DONE  # type: ignore[index]


def test_production_is_shown_by_the_feature_that_runs_there(stage: Stage) -> None:
    for key in ("SHOP-1", "SHOP-2"):
        stage.at(VERDICT, key)
        stage.decide(stage.feature(key), "max", VERDICT, DecisionKind.KEEP)
        stage.settle()
    last = stage.host.shown("production")
    stage.decide(stage.feature("SHOP-1"), "max", Step.WAIT_FOR_DEMONSTRATION, DecisionKind.APPROVE)
    stage.settle()
    assert stage.host.shown("production") == last


def test_the_issue_shows_request_and_environments(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    links = stage.tracker.links[KEY]
    assert links["request"] == (f"Merge request {stage.page().request.number}", stage.page().request.url)
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    assert all(title.endswith("(removed)") for m, (title, _) in links.items() if m in {"development", "preprod"})


def test_what_is_shown_already_is_not_sent_again(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.host.calls.clear()
    stage.tracker.calls.clear()
    stage.write("dora", "/approve")
    stage.settle()
    assert {name: n for name, n in stage.host.calls.items() if name != "comment"}.keys() <= {
        "changed_requests",
        "request",
        "comments",
    }
    assert stage.host.calls["comment"] == 1  # the answer
    assert "link" not in stage.tracker.calls


def test_what_happens_while_a_feature_is_shown_is_shown_after_that(stage: Stage) -> None:
    stage.at(REVIEW)
    real = stage.host.set_status

    def meanwhile(*arguments: object, **more: object) -> None:
        stage.host.set_status = real  # type: ignore[method-assign]
        stage.decide(stage.feature(), "rob", REVIEW, DecisionKind.APPROVE)
        real(*arguments, **more)  # type: ignore[arg-type]

    stage.host.set_status = meanwhile  # type: ignore[method-assign]
    stage.decide(stage.feature(), "dora", REVIEW, DecisionKind.APPROVE)
    entry = stage.pending(Errand.SHOW)[0]
    entry.payload = {**entry.payload, "shown": {}}
    stage.time += timedelta(seconds=5)
    outbox.drain(stage.control)
    assert entry.sent_at is None
    stage.errands()
    assert states(stage)["review"] is SUCCESS


# --- what is refused


def test_a_right_that_is_missing_stops_nothing_and_is_told_once(stage: Stage) -> None:
    stage.host.refuses["record_deployment"] = Refused("Could not show a deployment: the token lacks 'deployments'.")
    bring(stage, "SHOP-1", VERDICT)
    stage.settle()
    assert states(stage)["production"] is PENDING
    assert "Follow the delivery" in status(stage)
    told = [m for m in stage.messages.sent if "the token lacks 'deployments'" in m.text]
    assert [m.to for m in told] == [("olga",)]
    assert stage.kinds().count("trouble") == 1
    calls = stage.host.calls["record_deployment"]
    assert calls < 5


def test_a_right_that_was_granted_later_is_used(stage: Stage) -> None:
    stage.host.refuses["record_deployment"] = Refused("Could not show a deployment: the token lacks 'deployments'.")
    stage.at(ACCEPTANCE)
    del stage.host.refuses["record_deployment"]
    stage.time += timedelta(hours=2)
    stage.errands()
    assert stage.host.shown("preprod-shop-1") is not None


def test_a_right_that_is_missing_keeps_no_status_waiting_and_is_asked_for_once_an_hour(stage: Stage) -> None:
    stage.host.refuses["record_deployment"] = Refused("Could not show a deployment: the token lacks 'deployments'.")
    stage.at(REVIEW)
    entry = shown_anew(stage)
    outbox.drain(stage.control)
    asked = stage.host.calls["record_deployment"]
    approve(stage)
    assert states(stage)["review"] is SUCCESS
    assert stage.host.calls["record_deployment"] == asked
    assert entry.error == "Could not show a deployment: the token lacks 'deployments'."
    del stage.host.refuses["record_deployment"]
    stage.time += showing.LEFT_ALONE_FOR
    stage.errands()
    assert stage.host.shown("development-shop-1") is not None, "nothing has happened since"
    assert not entry.error


def test_a_tracker_that_is_down_for_hours_keeps_no_status_waiting(stage: Stage) -> None:
    stage.at(REVIEW)
    shown_anew(stage)
    stage.tracker.down = Unavailable("The tracker does not answer.")
    for _ in range(60):
        outbox.drain(stage.control)
        stage.time += timedelta(minutes=3)
    approve(stage)
    assert states(stage)["review"] is SUCCESS


def test_what_happens_while_something_is_refused_is_shown_after_that(stage: Stage) -> None:
    stage.at(REVIEW)
    real = stage.host.record_deployment

    def meanwhile(**_about: object) -> None:
        stage.host.record_deployment = real  # type: ignore[method-assign]
        stage.decide(stage.feature(), "rob", REVIEW, DecisionKind.APPROVE)
        raise Refused("The token lacks 'deployments'.")

    entry = shown_anew(stage)  # refused for a day: it would be given up
    entry.created_at, entry.error = stage.time - outbox.SHOWN_FOR, "The token lacks 'deployments'."
    stage.host.record_deployment = meanwhile  # type: ignore[method-assign]
    outbox.drain(stage.control)
    stage.time += timedelta(seconds=2)
    outbox.drain(stage.control)
    assert states(stage)["review"] is SUCCESS


def approve(stage: Stage) -> None:
    """Have the review approved, and wait for as long as anybody would."""
    stage.decide(stage.feature(), "rob", REVIEW, DecisionKind.APPROVE)
    stage.time += timedelta(seconds=5)
    outbox.drain(stage.control)


def test_what_is_refused_for_a_day_is_given_up_until_something_happens(stage: Stage) -> None:
    stage.host.refuses["record_deployment"] = Refused("Could not show a deployment: the token lacks 'deployments'.")
    stage.at(REVIEW)
    entry = shown_anew(stage)
    for _ in range(26):
        assert entry.sent_at is None
        stage.time += timedelta(hours=1)
        outbox.drain(stage.control)
        if stage.time >= entry.created_at + outbox.SHOWN_FOR:
            break
    assert entry.sent_at
    shown_anew(stage)
    assert entry.sent_at is None


def test_a_showing_waits_from_the_moment_at_which_something_happened(stage: Stage) -> None:
    """Its row is as old as the feature: *OutboxStuck* counts from when there was something to show."""
    stage.at(REVIEW)
    stage.time += timedelta(days=1)
    began, entry = stage.time, shown_anew(stage)
    asked = entry.created_at
    assert began <= asked <= began + timedelta(seconds=1)
    stage.host.down = Unavailable("The host does not answer.")
    outbox.drain(stage.control)
    shown_anew(stage)
    assert entry.created_at == asked, "something else has happened since, and none of it is shown"


def test_a_host_that_is_down_is_shown_everything_when_it_is_back(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.host.down = Unavailable("The host is down.")
    stage.decide(stage.feature(), "rob", REVIEW, DecisionKind.APPROVE)
    stage.run()
    for _ in range(5):
        stage.time += timedelta(minutes=1)
        outbox.drain(stage.control)
    stage.host.down = None
    stage.time += timedelta(hours=1)
    stage.errands()
    assert states(stage)["review"] is SUCCESS


def test_a_showing_ends_where_the_host_does_not_answer_and_the_tracker_gets_its_links(stage: Stage) -> None:
    """Each call may take as long as its time-out."""
    stage.at(ACCEPTANCE)
    entry = shown_anew(stage)
    stage.host.down = Unavailable("The host does not answer.")
    stage.host.calls.clear()
    stage.tracker.calls.clear()
    outbox.drain(stage.control)
    assert sum(stage.host.calls.values()) == 1
    assert stage.tracker.calls["link"] >= 1
    assert entry.error == "The host does not answer."


def test_a_tracker_that_does_not_answer_is_asked_by_one_showing_and_keeps_no_status_waiting(stage: Stage) -> None:
    keys = ("SHOP-1", "SHOP-2", "SHOP-3")
    for key in keys:
        stage.at(REVIEW, key)
    entries = [shown_anew(stage, key) for key in keys]
    stage.tracker.down = Unavailable("The tracker does not answer.")
    stage.tracker.calls.clear()
    stage.host.calls.clear()
    outbox.drain(stage.control)
    assert stage.tracker.calls["link"] < len(keys), "after its first failure it is left alone for two seconds"
    assert stage.host.calls["set_status"] >= 3 * 4, "every feature has its statuses"
    assert all(entry.sent_at is None for entry in entries)
    stage.tracker.down = None
    stage.time += showing.LINKS_AGAIN_AFTER
    stage.errands()
    assert all(entry.sent_at and not entry.error for entry in entries)


def shown_anew(stage: Stage, key: str = "SHOP-1") -> OutboxEntry:
    """Have everything of a feature sent once more."""
    with stage.begin() as unit:
        feature = unit.books.feature_by_id(stage.feature(key).id)
        show_later(unit, feature)
        entry = unit.books.outbox_marked(feature.project, f"{feature.run_id}:{Errand.SHOW}")
        assert entry
        entry.payload = {**entry.payload, "shown": {}}
    stage.time += timedelta(seconds=5)
    return entry


def test_a_host_that_asks_us_to_wait_is_left_alone_with_all_errands(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.host.down = RateLimited("Too many requests.", retry_after_seconds=600)
    stage.cancel(stage.feature())
    stage.run()
    stage.host.calls.clear()
    stage.time += timedelta(seconds=5)
    outbox.drain(stage.control)
    assert sum(stage.host.calls.values()) == 1
    stage.time += timedelta(minutes=5)
    outbox.drain(stage.control)
    assert sum(stage.host.calls.values()) == 1
    stage.host.down = None
    stage.time += timedelta(minutes=6)
    stage.errands()
    assert stage.host.pages[1].request.state is RequestState.CLOSED


def test_a_workflow_without_the_way_is_told_and_the_delivery_goes_on(stage: Stage) -> None:
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    stage.settle()
    stage.tracker.stuck.add(KEY)
    stage.decide(stage.feature(), "max", Step.WAIT_FOR_DEMONSTRATION, DecisionKind.APPROVE)
    stage.settle()
    assert stage.feature().state is FeatureState.DELIVERED
    events = [e.text for e in stage.books.events(stage.feature()) if e.kind == "trouble"]
    assert events == ["Could not bring SHOP-1 to done: its workflow leads from open to nothing else."]


def test_a_token_that_is_refused_is_told_once_however_many_errands_fail(stage: Stage) -> None:
    stage.tracker.down = Misconfigured("The tracker refuses the token of Connection 'github'.")
    bring(stage, "SHOP-1", REVIEW)
    for _ in range(3):
        stage.time += timedelta(hours=1)
        stage.errands()
    told = [m for m in stage.messages.sent if "refuses the token" in m.text]
    assert len(told) == 1


# --- shipping


def test_a_kept_feature_is_shown_as_merged_once_preprod_holds_it(stage: Stage) -> None:
    stage.at(VERDICT)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    closes: list[bool] = []
    real = stage.host.close_request

    def close(number: int, *, state: RequestState) -> None:
        at = stage.repository.branches[PREPROD]
        closes.append(stage.repository.is_ancestor(stage.page().request.head, at))
        real(number, state=state)

    stage.host.close_request = close  # type: ignore[method-assign]
    stage.time += timedelta(seconds=2)
    outbox.drain(stage.control)
    assert closes == [True]
    assert stage.page().request.state is RequestState.MERGED
    assert stage.repository.branches[PREPROD] == stage.repository.branches[PRODUCTION]


def test_a_request_with_a_commit_that_has_not_shipped_stays_open_and_nothing_waits_for_it(stage: Stage) -> None:
    stage.at(VERDICT)
    branch = stage.feature().branch
    assert branch is not None
    late = stage.push(branch)
    stage.decide(stage.feature(), "max", VERDICT, DecisionKind.KEEP)
    for _ in range(2):
        stage.time += timedelta(seconds=2)
        outbox.drain(stage.control)
    assert stage.page().request.state is RequestState.OPEN
    (told,) = [written.text for marker, written in stage.page().thread if marker == "left-open"]
    assert late[:10] in told
    with stage.begin() as unit:
        assert [e.kind for e in unit.books.outbox(stage.feature()) if e.sent_at is None] == []


def test_who_takes_a_feature_gets_its_issue_unless_somebody_has_it() -> None:
    stage = Stage(project=outside_shop(start_gate=True))
    try:
        people = stage.project.people
        dan = replace(people.persons["dan"], logins=frozenset({"dan-at-github"}))  # type: ignore[index]
        stage.project = replace(stage.project, people=replace(people, persons={**people.persons, dan.name: dan}))
        for key in ("SHOP-1", "SHOP-2"):
            stage.start(key)
        stage.run()
        stage.tracker.edit(FeatureKey("SHOP-2"), assignee="dora")
        for key in ("SHOP-1", "SHOP-2"):
            stage.decide(stage.feature(key), "dan", Step.WAIT_FOR_START, DecisionKind.APPROVE)
        stage.run()
        stage.errands()
        assert stage.tracker.kept[KEY].assignee == "dan"
        assert stage.tracker.kept[KEY].state == "in_progress"
        assert stage.tracker.kept[FeatureKey("SHOP-2")].assignee == "dora"
    finally:
        stage.close()
