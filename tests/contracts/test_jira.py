"""What is Jira's own: its workflow's screens, its people, its comments' properties and its searches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from feature_delivery.adapters.trackers.jira import JiraTracker
from feature_delivery.adapters.trackers.jira.adf import text_of
from feature_delivery.adapters.trackers.unseen import carries, unmarked, unseen
from feature_delivery.domain.errors import Misconfigured, NotFound, RateLimited, Refused, Unavailable
from feature_delivery.domain.names import FeatureKey
from feature_delivery.ports.tracker import IssueState
from tests.contracts.jira_bench import CONFIG, faults
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.jira import FakeJira, fake_jira
from tests.fakes.hosts.jira_state import Screen, Status, Transition, User

KEY, OTHER_KEY = FeatureKey("SHOP-1"), FeatureKey("SHOP-2")


@pytest.fixture
def jira() -> Iterator[FakeJira]:
    with fake_jira() as fake:
        yield fake
        assert faults(fake) == []


@pytest.fixture
def data_center() -> Iterator[FakeJira]:
    with fake_jira(cloud=False) as fake:
        yield fake


def tracker(fake: FakeJira, **config: Any) -> JiraTracker:
    return JiraTracker(fake.login(), config=replace(CONFIG, **config))


def way(begin: str, end: str, **screen: Screen) -> Transition:
    return Transition(f"{begin}>{end}", f"{begin} to {end}", frozenset({begin}), end, screen)


# --- the workflow ---------------------------------------------------------------------------------------------------


def test_the_way_leads_through_the_teams_own_workflow_and_past_its_other_end(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.state.transitions = [
        way("To Do", "Won't do"),
        way("To Do", "In Progress"),
        way("In Progress", "In Review"),
        way("In Review", "Done", resolution=Screen("Resolution", required=True, allowed=("Won't do", "Done"))),
        way("Done", "To Do"),
        way("Won't do", "Done"),
    ]
    mine = tracker(jira, resolution="done")
    mine.move(KEY, IssueState.DONE)
    assert issue.steps == ["In Progress", "In Review", "Done"]
    assert issue.resolution == "Done"
    mine.move(KEY, IssueState.OPEN)
    assert issue.status == "To Do"
    assert issue.resolution is None


def test_an_issue_that_is_there_is_not_touched(jira: FakeJira) -> None:
    jira.state.give(1)
    jira.state.move("SHOP-1", "In Review")
    tracker(jira).move(KEY, IssueState.IN_PROGRESS)
    assert not jira.server.calls("POST")
    assert jira.state.issues["SHOP-1"].status == "In Review"


def test_no_way_names_the_state_where_the_issue_is_and_what_can_be_reached(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.state.transitions = [way("To Do", "In Progress"), way("In Progress", "To Do")]
    with pytest.raises(Refused, match=r"move SHOP-1 to done: .* no way to 'Done'.*From 'In Progress' .* 'To Do'"):
        tracker(jira).move(KEY, IssueState.DONE)
    assert issue.status == "To Do"


def test_a_screen_that_asks_for_a_field_is_refused_with_its_name_unless_the_issue_has_it(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    asks = {"customfield_7": Screen("Severity", required=True), "labels": Screen("Labels")}
    jira.state.transitions = [way("To Do", "Done", **asks)]
    with pytest.raises(Refused, match=r"'To Do to Done' to 'Done' asks for 'Severity'"):
        tracker(jira).move(KEY, IssueState.DONE)
    assert issue.status == "To Do"
    issue.values["customfield_7"] = {"value": "High"}
    tracker(jira).move(KEY, IssueState.DONE)
    assert issue.status == "Done"


def test_of_two_transitions_the_one_without_questions_is_taken(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    asking = Transition(
        "1", "Close with reason", frozenset({"To Do"}), "Done", {"comment": Screen("Comment", required=True)}
    )
    jira.state.transitions = [asking, way("To Do", "Done")]
    tracker(jira).move(KEY, IssueState.DONE)
    assert issue.status == "Done"


@pytest.mark.parametrize(
    ("resolution", "sentence"),
    [
        ("", r"asks for a resolution. It has 'Fixed', 'Dropped'\. Name one as 'tracker\.resolution'"),
        ("Delivered", r"knows no resolution 'Delivered'\. It has 'Fixed', 'Dropped'\. Correct 'tracker\.resolution'"),
    ],
)
def test_a_resolution_that_is_asked_for_and_not_known_is_refused(
    jira: FakeJira, resolution: str, sentence: str
) -> None:
    jira.state.give(1)
    screen = Screen("Resolution", required=True, allowed=("Fixed", "Dropped"))
    jira.state.transitions = [way("To Do", "Done", resolution=screen)]
    with pytest.raises(Refused, match=sentence):
        tracker(jira, resolution=resolution).move(KEY, IssueState.DONE)
    screen.has_default = True
    tracker(jira, resolution="").move(KEY, IssueState.DONE)


def test_a_resolution_is_not_sent_where_no_screen_has_it(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    tracker(jira, resolution="Done").move(KEY, IssueState.DONE)
    assert issue.status == "Done"
    assert "fields" not in jira.server.calls("POST", "transitions")[-1].json()


def test_the_projects_words_choose_among_statuses(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.state.statuses["Shipped"] = Status("10099", "Shipped", "indeterminate")
    jira.state.transitions.append(Transition("99", "Ship", None, "Shipped"))
    mine = tracker(jira, states={"done": ("shipped", "Done"), "in_progress": ("In Review", "In Progress")})
    mine.move(KEY, IssueState.IN_PROGRESS)
    assert issue.status == "In Review"
    mine.move(KEY, IssueState.DONE)
    assert issue.status == "Shipped"
    found = mine.find(KEY)
    assert found
    assert found.state is IssueState.DONE
    with pytest.raises(Refused, match=r"no status 'Gone'.*'Shipped'.*tracker\.states\.open"):
        tracker(jira, states={"open": ("Gone",), "done": ("Shipped",)}).move(KEY, IssueState.OPEN)


def test_a_validator_that_says_no_is_quoted(jira: FakeJira) -> None:
    jira.state.give(1)
    no = Answer(400, {"errorMessages": ["Tests are missing\nhere"], "errors": {}})
    jira.server.faults.rules.append(("POST", "/transitions", no))
    with pytest.raises(Refused, match=r"It says: Tests are missing here\. It takes the right 'Transition issues'"):
        tracker(jira).move(KEY, IssueState.DONE)


# --- rights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "named"),
    [
        ("ADD_COMMENTS", "Add comments"),
        ("LINK_ISSUES", "Link issues"),
        ("ASSIGN_ISSUES", "Assign issues"),
        ("TRANSITION_ISSUES", "Transition issues"),
        ("CREATE_ISSUES", "Create issues"),
    ],
)
def test_a_right_that_is_missing_is_named_by_the_call_and_by_doctor(jira: FakeJira, right: str, named: str) -> None:
    jira.state.give(1)
    jira.state.rights.discard(right)
    mine = tracker(jira)
    calls: dict[str, Callable[[], object]] = {
        "ADD_COMMENTS": lambda: mine.comment(KEY, "Hello", marker="m"),
        "LINK_ISSUES": lambda: mine.link(KEY, url="http://x", title="T", marker="m"),
        "ASSIGN_ISSUES": lambda: mine.assign(KEY, "bob"),
        "TRANSITION_ISSUES": lambda: mine.move(KEY, IssueState.DONE),
        "CREATE_ISSUES": lambda: mine.create_new(title="T", description="", reporter="mia"),
    }
    with pytest.raises(Refused, match=f"'{named}'"):
        calls[right]()
    wrong = [one for one in mine.examine() if not one.well]
    assert [one.what for one in wrong] == ["rights"]
    assert f"'{named}'" in wrong[0].sentence


def test_a_project_that_we_may_not_see_is_a_wrong_setting(jira: FakeJira) -> None:
    jira.state.give(1)
    jira.state.rights.discard("BROWSE_PROJECTS")
    for call in (lambda: tracker(jira).find(KEY), lambda: tracker(jira).changed_issues(datetime.now(UTC))):
        with pytest.raises(Misconfigured, match=r"'SHOP'.*'Browse projects'"):
            call()
    assert [one.what for one in tracker(jira).examine() if not one.well] == ["project"]


def test_doctor_finds_what_is_wrong_with_words_types_and_resolutions(jira: FakeJira) -> None:
    mine = tracker(jira, states={"done": ("Shipped",)}, issue_type="Epic", resolution="Fixed")
    wrong = {one.what: one.sentence for one in mine.examine() if not one.well}
    assert set(wrong) == {"issue type"}, "the rest is looked at when the project is right"
    mine = tracker(jira, states={"done": ("Shipped",)}, resolution="Fixed")
    wrong = {one.what: one.sentence for one in mine.examine() if not one.well}
    assert set(wrong) == {"workflow", "resolution"}
    assert "'Shipped'" in wrong["workflow"]
    assert "'Fixed'" in wrong["resolution"]
    jira.state.statuses = {
        "Auf": Status("1", "Auf", "new"),
        "Zu": Status("2", "Zu", "done"),
        "Weg": Status("3", "Weg", "done"),
    }
    sentences = " ".join(one.sentence for one in tracker(jira).examine() if not one.well)
    assert "'Zu', 'Weg'" in sentences
    assert "tracker.states.in_progress" in sentences


# --- comments and links ---------------------------------------------------------------------------------------------


def test_a_comment_carries_its_marker_unseen(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    tracker(jira).comment(KEY, "Shipped.\n* cards, see https://shop.example", marker="shipped:1")
    (comment,) = issue.comments
    assert comment.properties == [{"key": "feature-delivery", "value": {"marker": "shipped:1"}}]
    assert text_of(comment.body) == "Shipped.\n\n* cards, see https://shop.example"
    assert unseen("shipped:1") not in text_of(comment.body)


def test_a_jira_that_keeps_no_properties_gets_each_comment_once_all_the_same(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.keeps_properties = False
    for _ in range(3):
        tracker(jira).comment(KEY, "Shipped", marker="shipped")
    assert [unmarked(text_of(one.body)) for one in issue.comments] == ["Shipped"]
    jira.server.faults.rules.append(("POST", "/comment/list", Answer(404, {})))
    for _ in range(2):
        tracker(jira).comment(KEY, "Rolled back", marker="rolled back")
    assert [unmarked(text_of(one.body)) for one in issue.comments] == ["Shipped", "Rolled back"]


def test_what_others_write_is_not_taken_for_ours(jira: FakeJira, data_center: FakeJira) -> None:
    for fake in (jira, data_center):
        issue = fake.state.give(1)
        properties = [{"key": "feature-delivery", "value": {"marker": "m"}}]
        fake.state.comment(issue, fake.state.body("mine" + unseen("m")), properties, fake.state.users["eve"])
        for _ in range(2):
            tracker(fake).comment(KEY, "Ours", marker="m")
        assert len(issue.comments) == 2


def test_our_comment_is_found_among_hundreds(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.page = 50
    tracker(jira).comment(KEY, "Ours", marker="m")
    for number in range(120):
        jira.state.write("SHOP-1", f"Talk {number}", by="mia")
    issue.comments.append(issue.comments.pop(0))
    tracker(jira).comment(KEY, "Ours", marker="m")
    assert len(issue.comments) == 121


def test_a_comment_of_any_length_and_kind_is_taken(jira: FakeJira, data_center: FakeJira) -> None:
    for fake in (jira, data_center):
        issue = fake.state.give(1)
        mine = tracker(fake)
        for number, text in enumerate(
            ("{" * 50_000, "\x00\x0b\ud800 Ü 漢字 \U0001f381", "\n\n", "[~mia] !http://x/y.png!")
        ):
            for _ in range(2):
                mine.comment(KEY, text or "-", marker=str(number))
        assert len(issue.comments) == 4
    sizes = [len(json.dumps(one.body, ensure_ascii=False)) for one in jira.state.issues["SHOP-1"].comments]
    assert 20_000 < max(sizes) < 32_767
    wiki = issue.comments[-1].body
    assert carries(wiki, "3")
    assert unmarked(wiki) == "\\[~mia\\] \\!http://x/y.png\\!"


def test_a_link_has_one_place_whatever_its_marker(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    long = "environment:" + "x" * 500
    for url in ("https://one.example", "https://two.example"):
        tracker(jira).link(KEY, url=url, title="Preview\n" + "y" * 300, marker=long)
    (link,) = issue.links.values()
    assert link["url"] == "https://two.example"
    assert len(link["title"]) == 255


# --- people ---------------------------------------------------------------------------------------------------------


def test_people_are_found_by_account_hidden_address_or_whole_name(jira: FakeJira) -> None:
    jira.state.give(1)
    jira.state.users["joe"] = User("712020:joe", "joe", "Joe Public", "joe@shop.test", "t")
    for name in ("712020:joe", "joe@shop.test", "Joe Public", "joe public"):
        assert tracker(jira).assign(KEY, name).assignee == "712020:joe"
        tracker(jira).assign(KEY, None)
    for nobody in ("joe", "Joe", "someone@else.test", "712020:jo"):
        with pytest.raises(NotFound, match="account id"):
            tracker(jira).assign(KEY, nobody)
    jira.state.users["double"] = User("1:d", "double", "Joe Public", "other@shop.test", "t")
    with pytest.raises(NotFound, match="several people are called 'Joe Public'"):
        tracker(jira).assign(KEY, "Joe Public")


def test_who_may_not_be_given_issues_is_refused_on_data_center(data_center: FakeJira) -> None:
    data_center.state.give(1)
    data_center.state.users["eve"] = replace(data_center.state.users["eve"], assignable=False)
    with pytest.raises(Refused, match="'eve' cannot be assigned"):
        tracker(data_center).assign(KEY, "eve")
    assert tracker(data_center).assign(KEY, "BOB").assignee == "bob"


def test_a_new_issue_is_its_reporters_where_jira_lets_us(jira: FakeJira) -> None:
    assert tracker(jira).create_new(title="T", description="Sell.", reporter="mia@shop.test").reporter == "mia"
    jira.state.rights.discard("MODIFY_REPORTER")
    for number, reporter in enumerate(("mia", "somebody"), start=2):
        made = tracker(jira, issue_type="bug").create_new(title="T", description="Sell.", reporter=reporter)
        assert (made.key, made.reporter, made.description) == (f"SHOP-{number}", reporter, "Sell.")
        issue = jira.state.issues[made.key]
        assert issue.type == "Bug"
        assert unmarked(text_of(issue.description)) == f"Sell.\n\nReported by {reporter}."
    with pytest.raises(Misconfigured, match=r"'Epic'\. It has 'Story', 'Bug'\. Correct 'tracker\.issue_type'"):
        tracker(jira, issue_type="Epic").create_new(title="T", description="", reporter="")


# --- issues and searches --------------------------------------------------------------------------------------------


def test_a_moved_issue_is_refused_with_its_new_key(jira: FakeJira) -> None:
    jira.state.give(1).moved_to = "ELSE-7"
    with pytest.raises(Refused, match="ELSE-7"):
        tracker(jira).find(KEY)


def test_issues_of_other_projects_are_none_of_ours(jira: FakeJira) -> None:
    jira.state.give(1, project="ELSE")
    other = FeatureKey("ELSE-1")
    mine = tracker(jira)
    assert mine.find(other) is None
    for call in (
        lambda: mine.comment(other, "x", marker="m"),
        lambda: mine.link(other, url="http://x", title="x", marker="m"),
        lambda: mine.move(other, IssueState.DONE),
        lambda: mine.assign(other, "bob"),
    ):
        with pytest.raises(NotFound, match="ELSE-1"):
            call()
    assert not jira.server.calls("POST")
    assert mine.changed_issues(datetime.now(UTC) - timedelta(days=1)) == ()


@pytest.mark.parametrize("project", ["", 'SHOP" OR project = "ELSE', "SHOP/..", "a b", "ÜBER"])
def test_a_project_that_is_no_key_never_reaches_a_search(jira: FakeJira, project: str) -> None:
    with pytest.raises(Misconfigured, match=r"tracker\.project"):
        tracker(jira, project=project)
    assert not jira.server.exchanges


def test_a_search_that_goes_round_in_a_circle_is_given_up(jira: FakeJira) -> None:
    page = {"issues": [], "nextPageToken": "again", "isLast": False}
    jira.server.faults.rules.append(("GET", "/search/jql", Answer(200, page)))
    with pytest.raises(Unavailable, match="circle"):
        tracker(jira).changed_issues(datetime.now(UTC))


def test_a_limit_reached_on_a_later_page_loses_nothing_in_silence(jira: FakeJira) -> None:
    jira.page = 1
    for number in (1, 2, 3):
        jira.state.give(number)
    mine = tracker(jira)
    since = datetime.now(UTC) - timedelta(minutes=5)
    assert len(mine.changed_issues(since)) == 3
    answered = [None, Answer(429, {}, {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"})]
    real = jira.server.faults.instead
    jira.server.faults.instead = lambda call: answered.pop(0) if answered else real(call)  # type: ignore[method-assign]
    with pytest.raises(RateLimited) as caught:
        mine.changed_issues(since)
    assert caught.value.retry_after_seconds
    assert caught.value.retry_after_seconds > 1e9


# --- getting in -----------------------------------------------------------------------------------------------------


def test_a_captcha_is_a_sentence_about_the_connection(data_center: FakeJira) -> None:
    denied = {"X-Authentication-Denied-Reason": "CAPTCHA_CHALLENGE; login-url=https://jira/login.jsp"}
    data_center.server.faults.rules.append(("GET", "/issue/", Answer(403, b"Denied", denied)))
    with pytest.raises(Misconfigured, match=r"CAPTCHA.*'jira'"):
        tracker(data_center).find(KEY)


def test_data_center_takes_a_bearer_token_or_a_password(data_center: FakeJira) -> None:
    data_center.state.give(1)
    login = data_center.login()
    for one in (login, replace(login, user="bot")):
        assert JiraTracker(one, config=CONFIG).find(KEY)
    schemes = {call.headers["authorization"].split()[0] for call in data_center.server.calls()}
    assert schemes == {"Bearer", "Basic"}


def test_a_password_may_have_any_letters(data_center: FakeJira) -> None:
    data_center.state.give(1)
    data_center.state.users["bot"] = replace(data_center.state.users["bot"], token="Päßword 漢字")
    login = data_center.login()
    assert JiraTracker(replace(login, user="bot"), config=CONFIG).find(KEY)
    with pytest.raises(Misconfigured, match="holds no token"):
        JiraTracker(login, config=CONFIG)


def test_a_jira_that_lists_no_statuses_is_moved_by_what_is_seen(jira: FakeJira) -> None:
    issue = jira.state.give(1)
    jira.server.faults.rules.append(("GET", "/statuses", Answer(404, {})))
    tracker(jira).move(KEY, IssueState.DONE)
    assert issue.status == "Done"


def test_cloud_without_an_account_is_a_sentence_about_the_connection(jira: FakeJira) -> None:
    with pytest.raises(Misconfigured, match="e-mail address"):
        JiraTracker(replace(jira.login(), user=""), config=CONFIG).find(KEY)
    with pytest.raises(Misconfigured, match="e-mail address"):
        JiraTracker(replace(jira.login(), user="", url="https://shop.atlassian.net"), config=CONFIG).find(KEY)


def test_which_jira_it_is_need_not_be_asked(jira: FakeJira) -> None:
    jira.state.give(1)
    login = replace(jira.login(), options={"deployment": "Cloud"})
    found = JiraTracker(login, config=CONFIG).find(KEY)
    assert found
    assert found.url == f"{jira.server.url}/browse/SHOP-1"
    assert not jira.server.calls("GET", "serverInfo")
    with pytest.raises(Misconfigured, match="deployment"):
        JiraTracker(replace(login, options={"deployment": "moon"}), config=CONFIG)


def test_a_jira_that_does_not_say_which_it_is_is_told_by_the_login(jira: FakeJira) -> None:
    jira.state.give(1)
    jira.server.faults.rules.append(("GET", "/serverInfo", Answer(404, {})))
    found = tracker(jira).find(KEY)
    assert found
    assert found.url == f"{jira.server.url}/browse/SHOP-1"


def test_the_address_of_pages_is_the_one_that_jira_tells(jira: FakeJira) -> None:
    jira.state.give(1)
    told = {"baseUrl": "https://jira.example/sub/", "deploymentType": "Cloud", "version": "1"}
    jira.server.faults.rules.append(("GET", "/serverInfo", Answer(200, told)))
    found = tracker(jira).find(KEY)
    assert found
    assert found.url == "https://jira.example/sub/browse/SHOP-1"
