"""People named by nothing but groups, while the login service does not say who is in them: unknown is not nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, PersonName
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DAY, DecisionKind, Expiry, Member, Membership
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.records import HeardComment, PromotionState
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.ports.messenger import Press, Question
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.control import brake, examine, hearing
from feature_delivery.services.control.adoption import adopt
from feature_delivery.services.control.decide import Say, decide, may
from feature_delivery.services.control.flags import flag, voices
from feature_delivery.services.control.glass import free_lock, override
from feature_delivery.services.control.opening import find_request
from feature_delivery.services.control.reminders import remind
from feature_delivery.services.control.requests import observe_request
from feature_delivery.services.control.start import adopt_run
from feature_delivery.web import members as directory
from tests.support.stage import Stage, outside_shop
from tests.support.world import STAFF, grouped, members, told

APPROVE, REJECT = ReviewKind.APPROVE, ReviewKind.REJECT
REVIEW, ACCEPTANCE, TURN = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_ACCEPTANCE, Step.WAIT_FOR_TURN
CONFIRMATION, VERDICT = Step.WAIT_FOR_CONFIRMATION, Step.WAIT_FOR_VERDICT
UNKNOWN = Membership(known=False)
LATELY = "has not said lately who is in the groups"


@pytest.fixture
def stage() -> Iterator[Stage]:
    """The shop in which rob, dora, tina and mia are somebody by a group alone."""
    made = Stage(project=told(outside_shop(), members()))
    yield made
    made.close()


def say_who(stage: Stage, membership: Membership) -> None:
    stage.project = told(stage.project, membership)


def said(stage: Stage) -> list[tuple[str, str, bool]]:
    feature = stage.feature()
    return [(d.person, d.kind, d.accepted) for d in stage.books.decisions(feature, feature.attempt_number)]


def authors(stage: Stage) -> list[str]:
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    return [*attempt.authors]


def strangers(stage: Stage) -> list[str]:
    attempt = stage.books.attempt(stage.feature())
    assert attempt is not None
    return [*attempt.strangers]


def says(stage: Stage, person: str, gate: Step, kind: DecisionKind = DecisionKind.APPROVE) -> bool:
    """Whether it counts; what cannot be said now is raised."""
    say = Say(person=PersonName(person), gate=gate, kind=kind, comment="Because.")
    with stage.begin() as unit:
        return decide(unit, stage.project, "SHOP-1", say).yes


def test_an_approval_stays_while_it_is_not_known_who_gave_it(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    say_who(stage, UNKNOWN)
    stage.host.write(stage.page().request.number, "max", "Nice.")
    stage.settle()
    assert said(stage) == [("rob", "approve", True)]
    assert stage.parked(stage.feature()) == [ACCEPTANCE]
    say_who(stage, members())
    stage.settle()
    assert said(stage) == [("rob", "approve", True)], "heard once"


@pytest.mark.parametrize("membership", [UNKNOWN, Membership()], ids=["unknown who", "nobody any more"])
def test_an_approval_is_withdrawn_when_its_login_is_mentioned_no_more_whoever_that_is_today(
    stage: Stage, membership: Membership
) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.reconcile()
    say_who(stage, membership)
    stage.host.write(stage.page().request.number, "max", "Nice.")
    stage.reconcile()
    assert said(stage) == [("rob", "approve", True)], "who left the team has not taken it back"
    stage.host.review(stage.page().request.number, "mallory", APPROVE)
    stage.host.dismiss(stage.page().request.number, "rob")
    stage.reconcile()
    assert said(stage) == [("rob", "approve", False)], "a stranger's approval does not stand for it"
    assert stage.parked(stage.feature()) == [REVIEW]


def test_an_approval_kept_without_its_login_is_withdrawn_only_once_it_is_known_who_people_are(stage: Stage) -> None:
    stage.at(REVIEW)
    stage.word("rob", APPROVE)
    stage.reconcile()
    (kept,) = stage.books.decisions(stage.feature(), 1)
    kept.origin = kept.origin.partition(" by ")[0]  # as an earlier version wrote it
    say_who(stage, UNKNOWN)
    stage.host.dismiss(stage.page().request.number, "rob")
    assert any(LATELY in line for line in stage.reconcile())
    assert said(stage) == [("rob", "approve", True)]
    say_who(stage, members())
    stage.reconcile()
    assert said(stage) == [("rob", "approve", False)], "it was looked at again without a change there"


@pytest.mark.parametrize("kind", [APPROVE, REJECT])
def test_a_review_by_somebody_unknown_waits_and_is_heard_by_a_later_look(stage: Stage, kind: ReviewKind) -> None:
    stage.at(REVIEW)
    stage.reconcile()
    say_who(stage, UNKNOWN)
    stage.word("rob", kind)
    number = stage.page().request.number
    assert any(LATELY in line for line in stage.reconcile([Hint(request=number)])), "and its webhook has done its part"
    stage.time += 10 * stage.project.choices.look_every
    asked = stage.host.calls["request"]
    stage.reconcile()
    assert stage.host.calls["request"] == asked + 1
    assert (said(stage), stage.parked(stage.feature())) == ([], [REVIEW])
    say_who(stage, members())
    stage.reconcile()
    assert said(stage) == [("rob", kind.value, True)]
    assert (stage.parked(stage.feature()) == [ACCEPTANCE]) is (kind is APPROVE)


def test_a_review_that_waits_keeps_no_other_waiting_and_what_else_is_on_the_request_is_taken_in(stage: Stage) -> None:
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    say_who(stage, UNKNOWN)
    page = stage.opened(feature)
    stage.host.review(page.request.number, "mallory", APPROVE)
    with stage.begin() as unit:
        waits = observe_request(unit, stage.project, "SHOP-1", stage.host.request(page.request.number))
    assert LATELY in waits
    assert feature.branch is not None
    with pytest.raises(Unavailable, match=LATELY):
        find_request(stage.control, stage.project, "SHOP-1", source=feature.branch)
    stage.run()
    assert stage.parked(stage.feature()) == [REVIEW]
    stage.word("rita", APPROVE)
    stage.reconcile()
    assert said(stage) == [("rita", "approve", True)]
    assert stage.parked(stage.feature()) == [ACCEPTANCE]


def test_an_approval_that_waits_for_an_unknown_author_keeps_its_request_from_nothing(stage: Stage) -> None:
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    assert feature.branch is not None
    say_who(stage, UNKNOWN)
    stage.push(feature.branch, who="rob")
    stage.reconcile()
    page = stage.opened(feature)
    stage.host.review(page.request.number, "rita", APPROVE)
    stage.reconcile()
    assert (said(stage), stage.parked(stage.feature())) == ([], [REVIEW])
    say_who(stage, members())
    stage.reconcile()
    assert (said(stage), stage.parked(stage.feature())) == ([("rita", "approve", True)], [ACCEPTANCE])


def test_a_command_by_somebody_unknown_is_neither_refused_nor_forgotten(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    stage.errands()
    say_who(stage, UNKNOWN)
    stage.write("tina", "/approve")
    stage.write("tina", "/status")
    stage.write("tom", "/status")
    found = stage.reconcile()
    assert any(LATELY in line for line in found)
    assert [one.author for one in stage.books.of(HeardComment)] == ["tom"]
    stage.errands()
    assert len([t for t in stage.host.texts(stage.page().request.number, by="delivery-bot") if "nobody of" in t]) == 0
    say_who(stage, members())
    stage.reconcile()
    assert ("tina", "approve", True) in said(stage)
    assert stage.parked(stage.feature()) == [CONFIRMATION]
    assert sorted(one.author for one in stage.books.of(HeardComment)) == ["tina", "tina", "tom"]


def test_a_press_in_the_chat_by_somebody_unknown_is_decided_when_it_is_known_who_it_was(stage: Stage) -> None:
    feature = stage.at(ACCEPTANCE)
    stage.channels["slack"] = stage.messages
    stage.messages.accounts["U1"] = ("tina@example.com",)
    attempt = stage.books.attempt(feature)
    assert attempt is not None
    asked = Question(
        run_id="SHOP-1", gate=ACCEPTANCE, attempt=attempt.number, commit=attempt.commit, candidate=None, kinds=()
    )
    press = Press(id="p1", user="U1", question=asked, kind=DecisionKind.APPROVE, comment="", place="C1", thread="1.0")
    say_who(stage, UNKNOWN)
    with stage.begin() as unit:
        assert hearing.store(unit, stage.project, press)
    stage.errands(rounds=200)
    assert stage.messages.whispers == []
    assert not [d for d in said(stage) if d[0] not in {"rob", "rita"}]
    say_who(stage, members())
    stage.time += 2 * stage.project.choices.look_every
    stage.errands()
    assert ("tina", "approve", True) in said(stage)


def test_an_author_who_was_unknown_when_their_commit_came_may_not_approve_it(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    say_who(stage, UNKNOWN)
    stage.push(feature.branch, who="rob")
    stage.reconcile()
    stage.run()
    assert (stage.feature().attempt_number, strangers(stage)) == (2, ["rob@example.com"])
    with pytest.raises(Unavailable, match=LATELY):
        says(stage, "rob", REVIEW)
    assert said(stage) == []
    say_who(stage, members())
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert said(stage) == [("rob", "approve", False)]
    assert ("rob" in authors(stage), strangers(stage)) == (True, []), "nothing is kept of them but the name"
    say_who(stage, Membership())
    with stage.begin() as unit:
        (refused,) = unit.books.decisions(stage.feature(), 2)
        refused.accepted = True
        assert voices(unit.books, stage.project, stage.feature()) == (), "once an author, always an author"


def test_somebody_of_the_file_waits_with_an_approval_while_an_author_is_unknown(stage: Stage) -> None:
    """The file knows her roles; the address under which she writes is known by her group alone."""
    rita = replace(stage.project.people.persons[PersonName("rita")], emails=frozenset())
    found = Member(name=PersonName("rita"), groups=frozenset({"the reviewers"}), emails=frozenset({"rita@example.com"}))
    persons = {**grouped(stage.project).people.persons, rita.name: rita}
    stage.project = replace(stage.project, people=replace(stage.project.people, persons=persons))
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    say_who(stage, UNKNOWN)
    stage.push(feature.branch, who="rita")
    stage.reconcile()
    stage.run()
    with pytest.raises(Unavailable, match=r"whether rita worked on .* Say it again"):
        says(stage, "rita", REVIEW)
    with stage.begin() as unit:
        say = Say(person=PersonName("rita"), gate=REVIEW, kind=DecisionKind.APPROVE)
        answer = may(unit, stage.project, stage.feature(), say)
    assert (answer.yes, LATELY in answer.reason) == (False, True)
    stage.word("rita", APPROVE)
    assert any("worked on" in line for line in stage.reconcile()), "nor by a review"
    stage.write("rita", "/approve")
    assert any("worked on" in line for line in stage.reconcile()), "nor by a comment"
    assert said(stage) == []
    assert says(stage, "rita", REVIEW, DecisionKind.REJECT), "what is wrong may be said by anybody who may say so"
    stage.push(feature.branch, who="dan")
    say_who(stage, members(found))
    stage.reconcile()
    assert not says(stage, "rita", REVIEW)


@pytest.mark.parametrize("mark", ["noreply@github.com", "49699333+dependabot[bot]@users.noreply.github.com"])
def test_machines_and_our_own_account_keep_nobody_of_the_file_waiting(stage: Stage, mark: str) -> None:
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    assert feature.branch is not None
    say_who(stage, UNKNOWN)
    stage.opened(feature, by="delivery-bot")
    stage.push(feature.branch, who=mark)
    stage.reconcile()
    stage.run()
    stage.reconcile([Hint(branch=BranchName(feature.branch), pushed=True, person="renovate[bot]")])
    assert (strangers(stage), stage.feature().strangers, stage.parked(stage.feature())) == ([], [], [REVIEW])
    assert says(stage, "rita", REVIEW)


def test_an_account_of_ours_that_is_somebodys_own_is_theirs(stage: Stage) -> None:
    rita = replace(stage.project.people.persons[PersonName("rita")], logins=frozenset({"delivery-bot"}))
    persons = {**stage.project.people.persons, rita.name: rita}
    stage.project = replace(stage.project, people=replace(stage.project.people, persons=persons))
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    stage.opened(feature, by="delivery-bot")
    stage.reconcile()
    assert "rita" in authors(stage)


def test_where_one_person_does_everything_nothing_waits_for_an_unknown_author(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.project = replace(stage.project, people=replace(stage.project.people, solo=True))
    say_who(stage, UNKNOWN)
    stage.push(feature.branch, who="rob")
    stage.reconcile()
    stage.run()
    assert says(stage, "rita", REVIEW)


@pytest.mark.parametrize("before", [CONFIRMATION, TURN])
def test_an_author_whose_address_is_added_later_loses_the_approval_before_anything_ships(
    stage: Stage, before: Step
) -> None:
    """``before``: the gate at which it is added; before the turn nobody says anything any more."""
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    hidden = Membership(tuple(replace(one, emails=frozenset()) for one in members().members))
    say_who(stage, hidden)
    stage.push(feature.branch, who="rob")
    stage.reconcile()
    stage.run()
    assert says(stage, "rob", REVIEW), "nobody could know"
    stage.run()
    for person, gate in (("tom", ACCEPTANCE), ("max", CONFIRMATION)):
        assert stage.parked(stage.feature()) == [gate]
        if gate is before:
            say_who(stage, members())
        assert stage.decide(stage.feature(), person, gate, DecisionKind.APPROVE)
        if gate is ACCEPTANCE:
            stage.hotfix()
            stage.reconcile()  # production is frozen
        stage.run()
    assert stage.parked(stage.feature()) == [TURN]
    say_who(stage, members())
    assert by_adopt(stage, PersonName("olga"))
    stage.run()
    assert stage.parked(stage.feature()) == [TURN]
    with stage.peek() as books:
        assert "lacks the approval of review" in flag(books, stage.project, stage.feature(), TURN).blocked
    assert stage.witness.shipped == []
    assert stage.decide(stage.feature(), "rita", REVIEW, DecisionKind.APPROVE), "somebody else reads it"
    assert "rob" in authors(stage)
    stage.run()
    assert len(stage.witness.shipped) == 1


def test_a_pusher_whose_login_is_added_later_may_not_approve(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.push(feature.branch, who="dan")
    stage.reconcile([Hint(branch=feature.branch, pushed=True, person="R-Codes")])
    stage.push(feature.branch, who="dan")
    stage.reconcile()
    stage.run()
    assert (stage.feature().strangers, strangers(stage)) == (["R-Codes"], ["R-Codes"]), "below what others push later"
    rob = replace(stage.project.people.persons[PersonName("rob")], logins=frozenset({"r-codes"}))
    stage.project = replace(
        stage.project, people=replace(stage.project.people, persons={**stage.project.people.persons, rob.name: rob})
    )
    assert not says(stage, "rob", REVIEW)
    assert says(stage, "rita", REVIEW)


def test_who_opened_the_request_unknown_may_not_approve_once_known(stage: Stage) -> None:
    feature = stage.at(Step.WAIT_FOR_MERGE_REQUEST)
    say_who(stage, UNKNOWN)
    stage.opened(feature, by="rob")
    stage.reconcile()
    assert strangers(stage) == ["rob"]
    say_who(stage, members())
    stage.word("rob", APPROVE)
    stage.reconcile()
    assert said(stage) == [("rob", "approve", False)]


def test_of_two_who_are_called_alike_both_are_authors(stage: Stage) -> None:
    """The name of the one is the login of the other: who pushed is unclear, so neither approves."""
    people = stage.project.people
    rita = replace(people.persons[PersonName("rita")], logins=frozenset({"ROB"}))
    assert replace(people, persons={**people.persons, rita.name: rita}).meant_by(["rob"]) == {"rob", "rita"}
    assert people.meant_by(["", "nobody@example.com"]) == frozenset()


def test_words_that_need_no_group_count_while_the_service_is_away(stage: Stage) -> None:
    """Production may burn: who is in the file keeps, rolls back and breaks glass as ever."""
    stage.at(VERDICT)
    say_who(stage, UNKNOWN)
    with pytest.raises(Unavailable, match=LATELY):
        says(stage, "mia", VERDICT, DecisionKind.KEEP)
    assert says(stage, "olga", VERDICT, DecisionKind.ROLL_BACK)


@pytest.mark.parametrize("after", [3, 70, 90])
def test_no_deadline_passes_while_whoever_may_decide_can_say_nothing(stage: Stage, after: int) -> None:
    """Outages that begin half an hour before the deadline, and end before and after it."""
    stage.at(ACCEPTANCE)
    policy = stage.project.people.policies[ACCEPTANCE]
    assert (policy.on_expiry, policy.timeout) == (Expiry.REJECT, 14 * DAY)
    stage.wait(14 * DAY - timedelta(minutes=30))
    for minutes in range(after):
        say_who(stage, members() if minutes == 0 else UNKNOWN)
        stage.wait(timedelta(minutes=1))
    say_who(stage, members())
    stage.wait(timedelta(minutes=54))
    assert stage.parked(stage.feature()) == [ACCEPTANCE], "there is some time left after it"
    stage.wait(timedelta(minutes=7))
    assert stage.parked(stage.feature()) != [ACCEPTANCE]


@pytest.mark.parametrize("red", [True, False])
def test_production_that_has_failed_is_rolled_back_by_its_deadline_whoever_is_known(stage: Stage, *, red: bool) -> None:
    stage.at(VERDICT)
    result = stage.books.suite_result(stage.feature(), 1, Step.TEST_PRODUCTION)
    assert result is not None
    result.red = "1 of 3 tests failed" if red else ""
    say_who(stage, UNKNOWN)
    stage.wait(2 * DAY)
    promotion = stage.books.promotion(stage.feature())
    assert promotion is not None
    assert (promotion.state is PromotionState.ROLLING_BACK) is red


def test_people_are_called_once_for_a_failed_release_that_cannot_be_taken_back_while_nobody_is_known(
    stage: Stage,
) -> None:
    stage.at(VERDICT)
    promotion, result = (
        stage.books.promotion(stage.feature()),
        stage.books.suite_result(stage.feature(), 1, Step.TEST_PRODUCTION),
    )
    assert promotion is not None
    assert result is not None
    promotion.irreversible, result.red = True, "1 of 3 tests failed"
    say_who(stage, UNKNOWN)
    stage.wait(DAY + timedelta(minutes=1))
    for _ in range(5):
        stage.wait(timedelta(minutes=1))
    called = [e for e in stage.books.outbox(stage.feature()) if "holds production" in str(e.payload.get("text"))]
    assert len(called) == 1


def test_whom_to_remind_is_asked_when_it_is_known(stage: Stage) -> None:
    stage.at(ACCEPTANCE)
    say_who(stage, UNKNOWN)
    stage.time += 30 * DAY
    with stage.begin() as unit:
        assert not remind(unit, stage.project, "SHOP-1")
    say_who(stage, members())
    with stage.begin() as unit:
        assert remind(unit, stage.project, "SHOP-1")
    assert "mia" in stage.pending(Errand.MESSAGE)[-1].payload["to"], "whom nothing but her group makes a manager"


def by_override(stage: Stage, person: PersonName) -> bool:
    say = Say(person=person, gate=REVIEW, kind=DecisionKind.APPROVE, comment="It burns.")
    with stage.begin() as unit:
        return override(unit, stage.project, "SHOP-1", say).yes


def by_free_lock(stage: Stage, person: PersonName) -> bool:
    with stage.begin() as unit:
        return free_lock(unit, stage.project, "It hangs.", person=person).yes


def by_adopt(stage: Stage, person: PersonName) -> bool:
    head = stage.repository.branches[stage.project.branches.production]
    with stage.begin() as unit:
        adopt(unit, stage.project, head, person=person, held={})
    return True


def by_brake(stage: Stage, person: PersonName) -> bool:
    with stage.begin() as unit:
        return brake.pull(unit, stage.project, "It burns.", person=person).yes


def by_release(stage: Stage, person: PersonName) -> bool:
    with stage.begin() as unit:
        return brake.release(unit, stage.project, "It is out.", person=person).yes


@pytest.mark.parametrize("act", [by_override, by_free_lock, by_adopt, by_brake, by_release])
def test_who_may_be_an_operator_by_a_group_is_not_refused_as_none(
    stage: Stage, act: Callable[[Stage, PersonName], bool]
) -> None:
    stage.at(REVIEW)
    say_who(stage, UNKNOWN)
    before = len(stage.books.decisions(stage.feature()))
    for name in ("mia", "rita"):
        with pytest.raises(Unavailable, match=LATELY):
            act(stage, PersonName(name))
    assert len(stage.books.decisions(stage.feature())) == before
    act(stage, PersonName("olga"))


def test_a_run_started_in_airflow_by_somebody_unknown_is_adopted_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunRef(stage.project.name, "SHOP-7")
    monkeypatch.setattr(stage.runs, "started_by", lambda _run: "mia", raising=False)
    monkeypatch.setattr(stage.runs, "conf", lambda _run: {"feature": "SHOP-7"}, raising=False)
    say_who(stage, UNKNOWN)
    with stage.begin() as unit, pytest.raises(Unavailable, match=LATELY):
        adopt_run(unit, stage.project, run)
    say_who(stage, Membership())
    with stage.begin() as unit, pytest.raises(Refused, match="mia is nobody of shop"):
        adopt_run(unit, stage.project, run)
    say_who(stage, members())
    with stage.begin() as unit:
        assert adopt_run(unit, stage.project, run).key == "SHOP-7"


def test_marks_that_no_address_and_no_login_can_be_are_not_kept(stage: Stage) -> None:
    feature = stage.at(REVIEW)
    assert feature.branch is not None
    stage.push(feature.branch, who="x" * 400)
    stage.reconcile([Hint(branch=BranchName(feature.branch), pushed=True, person="y" * 321)])
    assert (strangers(stage), stage.feature().strangers) == ([], [])


# The directory of the API server itself.

GROUPS = frozenset({"the testers"})


class Watched:
    """A lock that tells when somebody waits for it."""

    def __init__(self) -> None:
        self.lock, self.waits = threading.Lock(), threading.Event()

    def acquire(self, *, timeout: float) -> bool:
        if self.lock.acquire(blocking=False):
            return True
        if timeout:
            self.waits.set()
        return self.lock.acquire(timeout=timeout)

    def release(self) -> None:
        self.lock.release()


def test_who_comes_while_the_first_question_is_on_its_way_waits_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, asked, answered = Watched(), threading.Event(), threading.Event()
    questions = []

    def service(groups: frozenset[str]) -> list[tuple[str, str, str]]:
        questions.append(groups)
        asked.set()
        assert answered.wait(10)
        return [("tina", "Tina@Example.com", "the testers")]

    monkeypatch.setattr(directory, "_source", lambda: service)
    found = directory.Directory(_asking=lock)  # type: ignore[arg-type]
    told_both: list[Membership] = []
    threads = [threading.Thread(target=lambda: told_both.append(found(GROUPS))) for _ in range(2)]
    threads[0].start()
    assert asked.wait(10)
    threads[1].start()
    assert lock.waits.wait(10), "it went on without an answer"
    answered.set()
    for thread in threads:
        thread.join(10)
    tina = Member(name=PersonName("tina"), groups=GROUPS, emails=frozenset({"tina@example.com"}))
    assert told_both == [Membership((tina,))] * 2
    assert questions == [GROUPS]


def test_the_directory_says_when_it_does_not_know_and_asks_a_dead_service_only_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at, questions, dead = 1000.0, 0, True

    def service(_groups: frozenset[str]) -> list[tuple[str, str, str]]:
        nonlocal questions
        questions += 1
        if dead:
            raise ConnectionError
        return [("tina", "", "the testers")]

    monkeypatch.setattr(directory, "_source", lambda: service)
    found = directory.Directory(clock=lambda: at)
    assert [found(GROUPS), found(GROUPS)] == [Membership(known=False)] * 2
    assert questions == 1
    found._asking.acquire()  # another thread asks, and hangs: nobody waits for it a second time
    at += directory.FRESH_SECONDS
    assert found(GROUPS) == Membership(known=False)
    found._asking.release()
    dead = False
    assert [one.name for one in found(GROUPS).members] == ["tina"]
    dead, at = True, at + directory.KEPT_SECONDS - 1
    assert (len(found(GROUPS).members), found(GROUPS).known) == (1, True)
    at += 1
    assert found(GROUPS) == Membership(known=False)


def test_the_file_alone_says_who_is_who_where_it_names_no_groups() -> None:
    project = outside_shop()
    assert project.people.known
    assert set(project.people.persons) == set(STAFF)
    assert project.unclear("mallory") == ""
    away = grouped(project)
    assert LATELY in away.unclear("mallory", Who.TESTER)
    assert away.unclear("tom", Who.TESTER) == ""
    assert LATELY in away.unclear("tom", Who.MANAGER), "a group may give more roles"
    assert away.unclear("tom") == ""
    assert LATELY in examine._people(away).sentence, "doctor says so"
    assert LATELY not in examine._people(project).sentence
