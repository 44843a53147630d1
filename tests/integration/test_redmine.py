"""The Redmine tracker against the real Redmine: the whole contract of trackers, and what Redmine does in silence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from feature_delivery.adapters.trackers.redmine import RedmineTracker
from feature_delivery.adapters.trackers.redmine.walker import IssueWalker
from feature_delivery.adapters.trackers.states import Status
from feature_delivery.adapters.trackers.unseen import unmarked
from feature_delivery.adapters.trackers.workflow import Way, refusals
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts import test_tracker_contract as contract
from tests.contracts.redmine_bench import CONFIG, STATUS, is_link, number, shown_links
from tests.contracts.tracker_bench import Bench
from tests.support.redmine import RealRedmine, needed, running_redmine

KEY, OTHER_KEY = FeatureKey("SHOP-1"), FeatureKey("SHOP-2")
EVERY_STATUS = ("New", "In Progress", "Resolved", "Feedback", "Closed", "Rejected")
FACTS = [
    fact
    for name, fact in vars(contract).items()
    if name.startswith("test_") and list(inspect.signature(fact).parameters) == ["bench"]
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedmine]:
    needed()
    with running_redmine(tmp_path_factory.mktemp("redmine")) as running:
        yield running


@pytest.fixture
def redmine(server: RealRedmine) -> RealRedmine:
    server.empty()
    refusals.forget()
    return server


@pytest.fixture
def tracker(redmine: RealRedmine) -> RedmineTracker:
    return RedmineTracker(redmine.login(), config=CONFIG)


def allow(redmine: RealRedmine, *steps: tuple[str, str]) -> None:
    for begin, end in steps:
        redmine.allow("Delivery", begin, end)


def status(redmine: RealRedmine, key: FeatureKey) -> str:
    return str(redmine.ask("GET", f"/issues/{number(key)}.json")["issue"]["status"]["name"])


def test_the_contract_has_facts_to_check() -> None:
    assert len(FACTS) >= 7


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_contract_holds_for_the_real_redmine(
    redmine: RealRedmine, tracker: RedmineTracker, fact: Callable[[Bench], None]
) -> None:
    allow(redmine, *((begin, end) for begin in EVERY_STATUS for end in EVERY_STATUS if begin != end))
    fact(
        Bench(
            tracker=tracker,
            given=lambda key: redmine.give(number(key)),
            assign=lambda key, person: redmine.assign(number(key), person),
            comments=lambda key: [unmarked(note) for note in redmine.raw_notes(number(key)) if not is_link(note)],
            links=lambda key: shown_links(redmine.raw_notes(number(key))),
            moved=lambda key, state: redmine.move(number(key), STATUS[state]),
            block=lambda _: redmine.forbid("Delivery", "Closed"),
        )
    )


def test_a_status_that_is_not_allowed_is_answered_204_and_refused_by_us(
    redmine: RealRedmine, tracker: RedmineTracker
) -> None:
    redmine.give(1)
    for wanted in (99, 5):
        redmine.ask("PUT", "/issues/1.json", {"issue": {"status_id": wanted}}, by="bot")
        assert status(redmine, KEY) == "New", "Redmine itself says nothing"
    with pytest.raises(Refused, match=r"left it in 'New'.*'Delivery'.*'Gone'.*'Feature'"):
        IssueWalker(tracker, KEY, (), doing="move SHOP-1 to done").take(
            Way("99", "Gone", Status("Gone", IssueState.DONE))
        )
    with pytest.raises(Refused, match=r"move SHOP-1 to done: .* 'Closed' for us\. From 'New' it leads nowhere"):
        tracker.move(KEY, IssueState.DONE)
    assert status(redmine, KEY) == "New"


def test_the_way_is_found_over_several_statuses(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    allow(redmine, ("New", "Feedback"), ("New", "Rejected"), ("New", "In Progress"), ("Feedback", "New"))
    allow(redmine, ("In Progress", "Resolved"), ("Resolved", "Closed"), ("Rejected", "Closed"))
    tracker.move(KEY, IssueState.DONE)
    issue = redmine.ask("GET", "/issues/1.json?include=journals")["issue"]
    steps = [detail["new_value"] for one in issue["journals"] for detail in one["details"]]
    assert issue["status"]["name"] == "Closed"
    assert str(redmine.number("issue_statuses", "Rejected")) not in steps


def test_an_issue_that_cannot_get_there_is_brought_back(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    allow(redmine, ("New", "Feedback"), ("Feedback", "New"), ("New", "Rejected"), ("Rejected", "Closed"))
    with pytest.raises(Refused, match="'Closed'"):
        tracker.move(KEY, IssueState.DONE)
    assert status(redmine, KEY) == "New"


def test_a_wrong_key_gets_lists_from_redmine_and_nothing_from_us(redmine: RealRedmine) -> None:
    redmine.give(1)
    wrong = replace(redmine.login(), secret="0" * 40)
    headers = {"X-Redmine-API-Key": wrong.secret}
    for project in ("shop", "other"):
        address = f"{redmine.url}/issues.json?project_id={project}"
        assert httpx.get(address, headers=headers, trust_env=False).status_code == 200, "Redmine itself says nothing"
    tracker = RedmineTracker(wrong, config=CONFIG)
    for call in (
        lambda: tracker.find(KEY),
        lambda: tracker.changed_issues(datetime.now(UTC) - timedelta(days=1)),
        lambda: tracker.comment(KEY, "Hello", marker="m"),
        lambda: tracker.move(KEY, IssueState.DONE),
    ):
        with pytest.raises(Misconfigured, match="API key of the Connection 'redmine'") as caught:
            call()
        assert wrong.secret not in str(caught.value)
    assert [finding.well for finding in tracker.examine()] == [False]


def test_notes_that_redmine_leaves_out_are_refused_by_us(redmine: RealRedmine) -> None:
    redmine.give(1)
    with without(redmine, "add_issue_notes"):
        tracker = RedmineTracker(redmine.login(), config=CONFIG)
        with pytest.raises(Refused, match=r"left the note out.*'Add notes'"):
            tracker.comment(KEY, "Hello", marker="m")
        sentences = [finding.sentence for finding in tracker.examine() if not finding.well]
        assert len(sentences) == 1
        assert "'Add notes'" in sentences[0]
    assert redmine.notes(1) == []


def test_what_our_role_may_not_at_all_is_refused_with_the_permission(redmine: RealRedmine) -> None:
    redmine.give(1)
    with without(redmine, "add_issue_notes", "edit_issues"):
        tracker = RedmineTracker(redmine.login(), config=CONFIG)
        with pytest.raises(Refused, match="'Add notes'"):
            tracker.comment(KEY, "Hello", marker="m")
        with pytest.raises(Refused, match="'Edit issues'"):
            tracker.assign(KEY, "bob")


def test_an_assignee_that_redmine_leaves_out_is_refused_by_us(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    role, begin = redmine.number("roles", "Delivery"), redmine.number("issue_statuses", "New")
    redmine.sql(
        "INSERT INTO workflows (tracker_id, role_id, old_status_id, new_status_id, type, field_name, rule) "
        "VALUES (2, ?, ?, 0, 'WorkflowPermission', 'assigned_to_id', 'readonly')",
        role,
        begin,
    )
    with pytest.raises(Refused, match=r"left it as it was.*'Delivery'.*'New'"):
        tracker.assign(KEY, "bob")


def test_who_is_no_member_is_given_nothing(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    for nobody in ("boss", "nobody"):
        with pytest.raises(NotFound, match=f"no member .* '{nobody}'"):
            tracker.assign(KEY, nobody)
    assert tracker.assign(KEY, "BOB").assignee == "bob"
    assert tracker.assign(KEY, None).assignee is None


def test_a_link_is_one_note_that_is_kept_up_to_date(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    for url in ("http://one", "http://one", "http://two"):
        tracker.link(KEY, url=url, title="Preview", marker="preview")
    tracker.link(KEY, url="http://mr", title="Request", marker="request")
    assert redmine.notes(1) == ["Preview: http://two", "Request: http://mr"]
    with without(redmine, "edit_own_issue_notes"):
        blunt = RedmineTracker(redmine.login(), config=CONFIG)
        for _ in range(2):
            blunt.link(KEY, url="http://three", title="Preview", marker="preview")
    assert redmine.notes(1) == ["Preview: http://two", "Request: http://mr", "Preview: http://three"]


def test_a_person_who_copies_our_note_is_not_taken_for_us(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    tracker.comment(KEY, "Rejected", marker="one")
    note = redmine.ask("GET", "/issues/1.json?include=journals")["issue"]["journals"][0]["notes"]
    redmine.sql("DELETE FROM journals")
    redmine.ask("PUT", "/issues/1.json", {"issue": {"notes": note}}, by="bob")
    tracker.comment(KEY, "Rejected", marker="one")
    assert redmine.notes(1) == ["Rejected", "Rejected"]


def test_texts_of_any_kind_and_length_come_through(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1)
    text = 'h1. Ü 漢字 \U0001f381 <pre>\n{{toc}} "link":http://x !image! \\ \' ; --'
    tracker.comment(KEY, text, marker="strange")
    tracker.comment(KEY, "a" * 100_000, marker="long")
    first, second = redmine.notes(1)
    assert first == text
    assert second.startswith("aaa")
    assert second.endswith("…")
    for _ in range(2):
        tracker.comment(KEY, "again", marker="long")
    assert len(redmine.notes(1)) == 2


def test_a_new_issue_gets_the_next_number_its_type_and_its_reporter(
    redmine: RealRedmine, tracker: RedmineTracker
) -> None:
    redmine.give(1)
    made = tracker.create_new(title="Gift\ncards " + "x" * 300, description="Sell them.", reporter="max")
    assert (made.key, made.description, made.reporter, made.state) == (OTHER_KEY, "Sell them.", "max", IssueState.OPEN)
    assert tracker.find(OTHER_KEY) == made
    shown = redmine.ask("GET", "/issues/2.json")["issue"]
    assert shown["tracker"]["name"] == "Bug"
    assert unmarked(shown["description"]).replace("\r\n", "\n") == "Sell them.\n\nReported by max."
    assert RedmineTracker(redmine.login(), config=replace(CONFIG, issue_type="feature")).create_new(
        title="T", description="", reporter=""
    )
    assert redmine.ask("GET", "/issues/3.json")["issue"]["tracker"]["name"] == "Feature"
    with pytest.raises(Misconfigured, match=r"'Story'.*'Bug', 'Feature', 'Support'"):
        RedmineTracker(redmine.login(), config=replace(CONFIG, issue_type="Story")).create_new(
            title="T", description="", reporter=""
        )


def test_issues_of_other_projects_are_none_of_ours(redmine: RealRedmine, tracker: RedmineTracker) -> None:
    redmine.give(1, project="other", by="boss")
    redmine.give(2)
    assert tracker.find(KEY) is None
    assert tracker.find(FeatureKey("ELSE-2")) is None
    with pytest.raises(NotFound, match="SHOP-1"):
        tracker.comment(KEY, "Hello", marker="m")
    assert [issue.key for issue in tracker.changed_issues(datetime.now(UTC) - timedelta(days=1))] == [OTHER_KEY]


def test_changed_issues_are_listed_newest_first_over_all_pages(
    redmine: RealRedmine, tracker: RedmineTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_delivery.adapters.trackers.redmine.client.PAGE", 2)
    allow(redmine, ("New", "Closed"))
    for one in (1, 2, 3, 4, 5):
        redmine.give(one)
        redmine.sql("UPDATE issues SET updated_on = ? WHERE id = ?", f"2020-01-0{one} 10:00:00", one)
    since = datetime.now(UTC)
    tracker.move(FeatureKey("SHOP-2"), IssueState.DONE)
    assert [issue.key for issue in tracker.changed_issues(since)] == ["SHOP-2"]
    every = tracker.changed_issues(datetime(2020, 1, 1, 12, tzinfo=UTC) - timedelta(days=2))
    assert [issue.key for issue in every] == ["SHOP-2", "SHOP-5", "SHOP-4", "SHOP-3", "SHOP-1"]
    assert every[0].state is IssueState.DONE


def test_a_project_that_is_not_there_is_a_wrong_setting(redmine: RealRedmine) -> None:
    tracker = RedmineTracker(redmine.login(), config=replace(CONFIG, project="nowhere"))
    for call in (lambda: tracker.find(KEY), lambda: tracker.changed_issues(datetime.now(UTC))):
        with pytest.raises(Misconfigured, match="'nowhere'"):
            call()


def test_the_projects_own_words_for_its_statuses_count(redmine: RealRedmine) -> None:
    redmine.give(1)
    allow(redmine, ("New", "Resolved"), ("Resolved", "New"))
    states = {"open": ("new",), "in_progress": ("In Progress",), "done": ("resolved", "Closed")}
    tracker = RedmineTracker(redmine.login(), config=replace(CONFIG, states=states))
    tracker.move(KEY, IssueState.DONE)
    assert status(redmine, KEY) == "Resolved"
    assert tracker.create(KEY, title="", description="", reporter="").state is IssueState.DONE
    redmine.give(2)
    odd = RedmineTracker(redmine.login(), config=replace(CONFIG, states={"in_progress": ("Doing",)}))
    with pytest.raises(Refused, match=r"no status 'Doing'.*'New'.*tracker\.states\.in_progress"):
        odd.move(OTHER_KEY, IssueState.IN_PROGRESS)
    assert any("'Doing'" in finding.sentence and not finding.well for finding in odd.examine())


def test_a_redmine_that_is_as_it_should_be_has_no_bad_findings(tracker: RedmineTracker) -> None:
    findings = tracker.examine()
    assert [finding.sentence for finding in findings if not finding.well] == []
    assert {finding.what for finding in findings} >= {"token", "project", "rights", "workflow", "webhook"}


def test_a_redmine_whose_rest_api_is_off_says_so(redmine: RealRedmine) -> None:
    redmine.sql(
        "UPDATE settings SET value = '0', updated_on = datetime('now', '+1 hour') WHERE name = 'rest_api_enabled'"
    )
    try:
        with pytest.raises(Misconfigured, match="enable the REST API"):
            RedmineTracker(redmine.login(), config=CONFIG).find(KEY)
    finally:
        redmine.sql(
            "UPDATE settings SET value = '1', updated_on = datetime('now', '+2 hour') WHERE name = 'rest_api_enabled'"
        )


class without:  # noqa: N801 - reads as a word
    """The bot's role without some permissions, for a while."""

    def __init__(self, redmine: RealRedmine, *permissions: str) -> None:
        self._redmine = redmine
        self._permissions = permissions

    def __enter__(self) -> None:
        self._before = self._redmine.sql("SELECT permissions FROM roles WHERE name = 'Delivery'")[0][0]
        lines = [line for line in self._before.splitlines() if line.removeprefix("- :") not in self._permissions]
        self._set("\n".join(lines) + "\n")

    def __exit__(self, *_: object) -> None:
        self._set(self._before)

    def _set(self, permissions: str) -> None:
        self._redmine.sql("UPDATE roles SET permissions = ? WHERE name = 'Delivery'", permissions)
