"""The board's cards: in which column, for whom, since when; what a reader sees by the address."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.domain.freezes import freeze_at, window
from feature_delivery.domain.names import PersonName, ProjectName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import AttemptState, FeatureState, now
from feature_delivery.services.control.board import Card, Pace, Stage, cards, ended_card, stage_of
from feature_delivery.services.control.status import feature_line
from feature_delivery.web.board.overview import SHOWN_PER_COLUMN, Filters, Overview, Snapshot, overview
from tests.fakes.ledger import MemoryLedger, memory_ledger
from tests.support.board_world import DAY, HOUR, busy_shop, crowd, end, plant
from tests.support.world import SHOP, shop

PROJECTS = {SHOP: shop()}
STAFF = {"developers": ("dan", "dora"), "reviewers": ("rita", "rob"), "testers": ("rita", "tina", "tom")}


@pytest.fixture
def ledger():  # type: ignore[no-untyped-def]
    made = memory_ledger()
    yield made
    made.close()


def card(ledger: MemoryLedger, step: Step, **more: object) -> Card:
    with ledger.begin() as (_session, books):
        plant(books, "SHOP-1", step, **more)  # type: ignore[arg-type]
    return the_card(ledger)


def the_card(ledger: MemoryLedger, project: object = None) -> Card:
    with ledger.begin() as (session, _books):
        facts = SqlBoardBooks(session).facts(ended_per_project=10)
    found = cards(facts, {SHOP: project or shop()})  # type: ignore[dict-item]
    assert len(found) == 1
    return found[0]


def seen(ledger: MemoryLedger, *, reader: str = "max", **asked: str) -> Overview:
    with ledger.begin() as (session, _books):
        facts = SqlBoardBooks(session).facts(ended_per_project=10)
    snapshot = Snapshot("r", PROJECTS, cards(facts, PROJECTS), facts.ended, 0.0)
    return overview(snapshot, filters=Filters(**asked), visible={SHOP}, reader=reader)


def keys(board: Overview, stage: Stage) -> list[str]:
    return [card.key for column in board.columns if column.stage is stage for card in column.cards]


def test_every_step_has_a_column() -> None:
    assert {stage_of(step) for step in Step} == set(Stage) - {Stage.STOPPED}


@pytest.mark.parametrize(
    ("step", "stage", "pace", "people"),
    [
        (Step.WAIT_FOR_START, Stage.DEVELOPMENT, Pace.DECISION, STAFF["developers"]),
        (Step.WAIT_FOR_CODE, Stage.DEVELOPMENT, Pace.EVENT, STAFF["developers"]),
        (Step.WAIT_FOR_MERGE_REQUEST, Stage.REVIEW, Pace.EVENT, ("dora",)),
        (Step.WAIT_FOR_REVIEW, Stage.REVIEW, Pace.DECISION, STAFF["reviewers"]),
        # rita has reviewed it in this world: one person fills one role.
        (Step.WAIT_FOR_ACCEPTANCE, Stage.ACCEPTANCE, Pace.DECISION, ("tina", "tom")),
        (Step.WAIT_FOR_CONFIRMATION, Stage.CONFIRMATION, Pace.DECISION, ("max", "mia")),
        (Step.WAIT_FOR_TURN, Stage.QUEUE, Pace.TURN, ()),
        (Step.WAIT_FOR_VERDICT, Stage.PRODUCTION, Pace.DECISION, ("max", "mia", "olga")),
        (Step.WAIT_FOR_REWORK, Stage.DEVELOPMENT, Pace.EVENT, ("dora",)),
    ],
)
def test_a_feature_at_a_gate_waits_for_those_whose_word_or_work_would_count(
    ledger: MemoryLedger, step: Step, stage: Stage, pace: Pace, people: tuple[str, ...]
) -> None:
    found = card(ledger, step, waiting=HOUR)
    assert (found.stage, found.pace, found.people) == (stage, pace, people)


def test_who_wrote_the_commit_is_not_waited_for_at_its_review(ledger: MemoryLedger) -> None:
    assert card(ledger, Step.WAIT_FOR_REVIEW, authors=("rob",)).people == ("rita",)


def test_who_has_approved_is_waited_for_no_longer_while_another_is(ledger: MemoryLedger) -> None:
    project = shop()
    two = replace(project.people.policies[Step.WAIT_FOR_REVIEW], count=2)
    policies = {**project.people.policies, Step.WAIT_FOR_REVIEW: two}
    with ledger.begin() as (_session, books):
        plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW).said(Step.WAIT_FOR_REVIEW, "rob")
    assert the_card(ledger, replace(project, people=replace(project.people, policies=policies))).people == ("rita",)


def test_a_refused_word_changes_nothing(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW).said(Step.WAIT_FOR_REVIEW, "rob", why="rob may not.")
    assert the_card(ledger).people == STAFF["reviewers"]


def test_a_running_step_waits_for_nobody(ledger: MemoryLedger) -> None:
    found = card(ledger, Step.DEPLOY_PREPROD, works=True)
    assert (found.stage, found.pace, found.people, found.number) == (Stage.ACCEPTANCE, Pace.WORK, (), "12")


def test_what_failed_is_said_and_waits_for_who_wrote_it(ledger: MemoryLedger) -> None:
    found = card(ledger, Step.WAIT_FOR_MERGE_REQUEST, blocked="2 of 40 unit tests failed.")
    assert (found.pace, found.blocked, found.people) == (Pace.BLOCKED, "2 of 40 unit tests failed.", ("dora",))
    assert found.tests is not None
    assert found.tests.failed == 1


def test_a_rejected_feature_is_its_developers_at_once(ledger: MemoryLedger) -> None:
    """Before its run has come back to the gate for code."""
    with ledger.begin() as (_session, books):
        planted = plant(books, "SHOP-1", Step.NOTIFY_TESTERS, works=True)
        attempt = books.attempt(planted.feature)
        assert attempt is not None
        attempt.state, attempt.reason, attempt.ended_at = AttemptState.REJECTED, "tom: no.", now()
        when = attempt.ended_at
    found = the_card(ledger)
    assert (found.stage, found.pace, found.people) == (Stage.DEVELOPMENT, Pace.EVENT, ("dora",))
    assert (found.rejected, found.since) == ("tom: no.", when)


def test_a_newer_attempt_is_in_development_before_its_first_step_runs(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        planted = plant(books, "SHOP-1", Step.DEPLOY_PREPROD, works=True)
        books.permits(planted.feature)[-1].state = "failed"
        planted.at = now()
        planted.pushed()
    found = the_card(ledger)
    assert (found.stage, found.pace, found.number, found.blocked) == (Stage.DEVELOPMENT, Pace.WORK, "6", "")
    assert found.tests is None


def test_a_failure_before_production_is_the_operators_too(ledger: MemoryLedger) -> None:
    assert card(ledger, Step.WAIT_FOR_VERDICT, blocked="The deploy failed.").people == ("dora", "olga")


def test_a_feature_in_the_queue_names_its_place_and_who_is_before_it(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        busy_shop(books)
    queue = [c for column in seen(ledger).columns if column.stage is Stage.QUEUE for c in column.cards]
    assert [(c.key, c.place, c.behind) for c in queue] == [("SHOP-12", 1, "SHOP-14"), ("SHOP-13", 2, "SHOP-14")]


def test_an_override_of_an_earlier_window_hides_no_later_one(ledger: MemoryLedger) -> None:
    """What was overridden on one Friday, and did not go then, waits for the next weekend like everything."""
    days = f"{now() - 2 * DAY:%Y-%m-%d} .. {now() + 2 * DAY:%Y-%m-%d}"
    project = replace(shop(), freezes=(window("Sale", days, "UTC"),))
    begun = freeze_at(project.freezes, now())
    assert begun is not None
    with ledger.begin() as (_session, books):
        books.lock_project(SHOP)
        planted = plant(books, "SHOP-1", Step.WAIT_FOR_TURN)
        planted.at = begun.since - HOUR
        planted.said(Step.WAIT_FOR_TURN, "olga", DecisionKind.OVERRIDE)
    assert the_card(ledger, project).frozen.startswith("Sale freezes production")
    with ledger.begin() as (_session, books):
        planted.books, planted.at = books, begun.since
        planted.said(Step.WAIT_FOR_TURN, "olga", DecisionKind.OVERRIDE)
    assert the_card(ledger, project).frozen == ""


def test_a_frozen_production_is_said_instead_of_its_holder(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        busy_shop(books)
        books.lock_project(SHOP).frozen_reason = "A hotfix was pushed."
    queue = [c for column in seen(ledger).columns if column.stage is Stage.QUEUE for c in column.cards]
    assert {(c.behind, c.frozen) for c in queue} == {("", "A hotfix was pushed.")}


def test_every_feature_is_in_exactly_one_column(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        busy_shop(books)
        every = sorted(f.key for f in books.features())
    board = seen(ledger)
    assert sorted(card.key for column in board.columns for card in column.cards) == every
    assert sum(column.total for column in board.columns) == len(every)
    assert keys(board, Stage.STOPPED) == ["SHOP-23"]


def test_a_kept_feature_is_delivered_and_waits_to_be_shown(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        busy_shop(books)
    board = seen(ledger)
    first = next(column for column in board.columns if column.stage is Stage.DELIVERED).cards[0]
    assert (first.key, first.people) == ("SHOP-16", ("max", "mia"))


def test_waits_for_me_shows_what_the_reader_may_decide_now(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        busy_shop(books)
    board = seen(ledger, reader="tom", person="tom")
    assert {card.key for column in board.columns for card in column.cards} == {"SHOP-8", "SHOP-9"}
    assert board.mine == 2


def test_text_finds_by_key_title_and_person_in_any_case(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW, title="Gift Cards")
        plant(books, "SHOP-2", Step.WAIT_FOR_REVIEW, title="Invoices")
    for text in ("gift", "CARDS gift", "shop-1", "cards rita"):
        assert keys(seen(ledger, text=text), Stage.REVIEW) == ["SHOP-1"], text
    assert keys(seen(ledger, text="gift invoices"), Stage.REVIEW) == []


def test_nobody_sees_features_of_a_project_that_is_not_theirs(ledger: MemoryLedger) -> None:
    with ledger.begin() as (session, books):
        busy_shop(books)
        facts = SqlBoardBooks(session).facts(ended_per_project=10)
    snapshot = Snapshot("r", PROJECTS, cards(facts, PROJECTS), facts.ended, 0.0)
    for project in ("", "shop"):
        board = overview(snapshot, filters=Filters(project=project), visible=frozenset(), reader="max")
        assert sum(column.total for column in board.columns) == 0
        assert (board.mine, board.under_way, board.people, board.projects) == (0, 0, (), ())


def test_a_full_column_is_folded_and_unfolded(ledger: MemoryLedger) -> None:
    with ledger.begin() as (session, _books):
        crowd(session, 4 * (SHOWN_PER_COLUMN + 7))
    review = next(column for column in seen(ledger).columns if column.stage is Stage.REVIEW)
    assert (len(review.cards), review.folded, review.total) == (SHOWN_PER_COLUMN, 7, SHOWN_PER_COLUMN + 7)
    whole = next(column for column in seen(ledger, whole="review").columns if column.stage is Stage.REVIEW)
    assert (len(whole.cards), whole.folded) == (SHOWN_PER_COLUMN + 7, 0)
    since = [card.since for card in whole.cards]
    assert since == sorted(since), "who waits longest comes first"


def test_ended_features_are_counted_even_when_they_are_not_read(ledger: MemoryLedger) -> None:
    with ledger.begin() as (session, books):
        for number in range(1, 16):
            end(plant(books, f"SHOP-{number}", Step.WAIT_FOR_START), FeatureState.DELIVERED)
        facts = SqlBoardBooks(session).facts(ended_per_project=4)
    snapshot = Snapshot("r", PROJECTS, cards(facts, PROJECTS), facts.ended, 0.0)
    board = overview(snapshot, filters=Filters(), visible={SHOP}, reader="max")
    delivered = next(column for column in board.columns if column.stage is Stage.DELIVERED)
    assert (len(delivered.cards), delivered.total) == (4, 15)


def test_a_project_whose_file_is_gone_shows_nothing_and_breaks_nothing(ledger: MemoryLedger) -> None:
    with ledger.begin() as (session, books):
        plant(books, "OLD-1", Step.WAIT_FOR_REVIEW, project="old")
        assert cards(SqlBoardBooks(session).facts(ended_per_project=10), PROJECTS) == ()


def test_the_card_of_an_ended_feature_needs_its_row_alone(ledger: MemoryLedger) -> None:
    with ledger.begin() as (session, books):
        end(plant(books, "SHOP-3", Step.WAIT_FOR_REVIEW, title="100% wool"), FeatureState.CANCELLED, reason="No.")
        found = SqlBoardBooks(session).search_ended("100%", {SHOP}, limit=5)
        assert SqlBoardBooks(session).search_ended("100_", {SHOP}, limit=5) == ()
        assert SqlBoardBooks(session).search_ended("wool", {ProjectName("other")}, limit=5) == ()
    assert [(ended_card(row).stage, ended_card(row).reason) for row in found] == [(Stage.STOPPED, "No.")]


def test_addresses_keep_what_was_asked_for(ledger: MemoryLedger) -> None:
    filters = Filters(project="shop", person="tom", text="a & b")
    assert filters.address() == "?project=shop&person=tom&q=a+%26+b"
    assert filters.address(person="") == "?project=shop&q=a+%26+b"
    assert Filters().address() == "?"
    assert filters.active
    assert not Filters(whole="review").active


def test_decisions_that_a_refresh_has_voided_are_waited_for_again(ledger: MemoryLedger) -> None:
    project = shop()
    strict = replace(project, choices=replace(project.choices, sign_offs_survive_refresh=False))
    with ledger.begin() as (_session, books):
        planted = plant(books, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
        planted.said(Step.WAIT_FOR_ACCEPTANCE, "tom", DecisionKind.APPROVE)
        candidate = books.candidate(planted.feature, 1)
        assert candidate is not None
        candidate.commit = planted.feature.branch_head = "f" * 40  # type: ignore[assignment]
    assert PersonName("tom") not in the_card(ledger).people
    assert PersonName("tom") in the_card(ledger, strict).people


def test_features_that_have_ended_cost_a_list_no_query(ledger: MemoryLedger) -> None:
    with ledger.begin() as (_session, books):
        plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW)
        for number in range(2, 7):
            end(plant(books, f"SHOP-{number}", Step.WAIT_FOR_REVIEW), FeatureState.CANCELLED)
    queries: list[str] = []
    with ledger.begin() as (_session, books):
        found = books.features(SHOP)
        event.listen(ledger.engine, "before_cursor_execute", lambda *said: queries.append(said[2]))
        ended = [feature_line(books, shop(), feature) for feature in found[:-1]]
        assert (queries, [line.gate for line in ended]) == ([], [None] * 5)
        waiting = feature_line(books, shop(), found[-1]).gate
        assert waiting is not None
        assert (waiting.step, bool(queries)) == (Step.WAIT_FOR_REVIEW, True)
