"""``BoardBooks`` on PostgreSQL and on the ledger in memory: few queries however much there is, no change overlooked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from feature_delivery.adapters.ledger import SqlBooks, ledger_begin
from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Event, FeatureState, PromotionState, now
from tests.fakes.ledger import memory_ledger
from tests.support.board_world import DAY, HOUR, busy_shop, crowd, end, plant, promote, sha

SHOP, OTHER = ProjectName("shop"), ProjectName("other")
Begin = Callable[[], AbstractContextManager[tuple[Session, SqlBooks]]]


@pytest.fixture(params=["postgresql", "memory"])
def begin(request: pytest.FixtureRequest) -> Iterator[Begin]:
    if request.param == "postgresql":
        yield ledger_begin(request.getfixturevalue("postgres_engine"))
        return
    memory = memory_ledger()
    yield memory.begin
    memory.close()


@contextmanager
def counted(session: Session) -> Iterator[list[str]]:
    """Every statement that is sent meanwhile."""
    said: list[str] = []
    engine = session.get_bind()

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_an_empty_ledger_has_nothing_to_show(begin: Begin) -> None:
    with begin() as (session, _books):
        board = SqlBoardBooks(session)
        assert board.facts(ended_per_project=5).features == ()
        assert board.figure_facts({SHOP}, since=now()).releases == ()
        assert board.search_ended("x", {SHOP}, limit=5) == ()
        assert board.revision() == board.revision()


def test_a_thousand_features_cost_as_many_queries_as_one(begin: Begin) -> None:
    with begin() as (session, books):
        plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW)
        session.flush()
        with counted(session) as few:
            assert len(SqlBoardBooks(session).facts(ended_per_project=5).features) == 1
        crowd(session, 1000)
        with counted(session) as many:
            assert len(SqlBoardBooks(session).facts(ended_per_project=5).features) == 1001
    assert len(many) == len(few) <= 13
    assert not [statement for statement in many if "fd_suite_result.report" in statement], "reports are heavy"


def test_the_question_whether_anything_changed_is_one_query(begin: Begin) -> None:
    with begin() as (session, _books):
        crowd(session, 300)
        with counted(session) as said:
            SqlBoardBooks(session).revision()
    assert len(said) == 1


def test_everything_that_a_card_shows_changes_the_revision(begin: Begin) -> None:
    with begin() as (session, books):
        board = SqlBoardBooks(session)
        seen = [board.revision()]
        planted = plant(books, "SHOP-1", Step.WAIT_FOR_REVIEW)
        acts: tuple[Callable[[], None], ...] = (
            lambda: planted.event("decided", "rita: approve"),
            lambda: planted.work(Step.BUILD_CANDIDATE, goes_on=True),
            lambda: planted.said(Step.WAIT_FOR_REVIEW, "rita"),
            lambda: planted.waited(Step.WAIT_FOR_ACCEPTANCE, HOUR),
        )
        for act in acts:
            seen.append(board.revision())
            act()
        seen.append(board.revision())
    assert len(set(seen)) == len(seen)


def test_a_transaction_that_ends_late_with_an_older_number_is_not_overlooked(postgres_engine: Engine) -> None:
    """Numbers are given when rows are written and seen when transactions end: the greatest alone would miss some."""
    begin = ledger_begin(postgres_engine)

    def said() -> Event:
        return Event(project=SHOP, feature_id=None, kind="x", text="y")

    with begin() as (late, late_books):
        late_books.add(said())
        late.flush()
        with begin() as (_session, books):
            books.add(said())
        with begin() as (session, _books):
            before = SqlBoardBooks(session).revision()
    with begin() as (session, _books):
        assert SqlBoardBooks(session).revision() != before


def test_facts_are_of_the_current_attempt_alone(begin: Begin) -> None:
    with begin() as (session, books):
        planted = plant(books, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
        planted.pushed(authors=("dan",))
        planted.suite(Step.CHECK_UNIT, "unit", sha("SHOP-1", 2), tests=3)
        planted.suite(Step.CHECK_UNIT, "unit", sha("SHOP-1", 2), tests=5)
        facts = SqlBoardBooks(session).facts(ended_per_project=5)
        number = planted.feature.id
    assert facts.attempts[number].authors == ("dan",)
    assert [suite.executed for suite in facts.suites[number]] == [5], "the newest result of a step counts"
    assert facts.decisions.get(number, ()) == ()
    assert facts.candidates.get(number) is None


def test_ended_features_are_read_up_to_a_number_per_project_and_counted_to_the_last(begin: Begin) -> None:
    with begin() as (session, books):
        for number in range(1, 8):
            end(plant(books, f"SHOP-{number}", Step.WAIT_FOR_START), FeatureState.DELIVERED)
        for number in range(1, 4):
            end(plant(books, f"OTHER-{number}", Step.WAIT_FOR_START, project="other"), FeatureState.CANCELLED)
        plant(books, "SHOP-8", Step.WAIT_FOR_START)
        facts = SqlBoardBooks(session).facts(ended_per_project=2)
    assert [f.key for f in facts.features] == ["SHOP-8", "OTHER-3", "OTHER-2", "SHOP-7", "SHOP-6"]
    assert facts.ended == {(SHOP, FeatureState.DELIVERED): 7, (OTHER, FeatureState.CANCELLED): 3}


def test_environments_belong_to_their_feature_and_production_to_the_project(begin: Begin) -> None:
    with begin() as (session, books):
        busy_shop(books)
        facts = SqlBoardBooks(session).facts(ended_per_project=50)
        ids = {feature.key: feature.id for feature in facts.features}
    assert [place.kind for place in facts.places[ids[FeatureKey("SHOP-8")]]] == ["development", "preprod"]
    assert facts.production[SHOP].address == "http://127.0.0.1:8999"
    assert ids[FeatureKey("SHOP-17")] not in facts.places, "destroyed ones are not there"
    assert facts.projects[SHOP].queue == (ids[FeatureKey("SHOP-12")], ids[FeatureKey("SHOP-13")])


def test_figures_are_of_the_projects_and_the_time_that_were_asked_for(begin: Begin) -> None:
    with begin() as (session, books):
        for place, (key, project) in enumerate([("SHOP-1", "shop"), ("SHOP-2", "shop"), ("OTHER-1", "other")]):
            done = plant(books, key, Step.WAIT_FOR_DEMONSTRATION, project=project, age=50 * DAY, span=2 * DAY)
            promote(done, PromotionState.KEPT, moved=now() - (1 + place * 10) * DAY, ended=now())
        intended = plant(books, "SHOP-3", Step.PROMOTE, works=True)
        promote(intended, PromotionState.INTENDED).moved_at = None
        board = SqlBoardBooks(session)
        found = board.figure_facts({SHOP}, since=now() - 5 * DAY)
        both = board.figure_facts({SHOP, OTHER}, since=now() - 30 * DAY)
    assert [release.key for release in found.releases] == ["SHOP-1"]
    assert sorted(release.key for release in both.releases) == ["OTHER-1", "SHOP-1", "SHOP-2"]
    assert {wait.feature_id for wait in found.waits} == {found.releases[0].feature_id}
    assert all(spent.ended - spent.began >= timedelta(0) for spent in (*found.waits, *found.work))
    assert found.releases[0].first_commit_at > found.releases[0].asked_at
