"""The board over HTTP: who sees what, who may decide, what foreign pages cannot do, what a change costs."""

from __future__ import annotations

import asyncio
import html
import math
import re
import threading
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from airflow.api_fastapi.app import get_auth_manager
from sqlalchemy import event

from feature_delivery.domain import records
from feature_delivery.domain.names import PersonName, ProjectName, feature_key
from feature_delivery.domain.outbox import OUTDATED, Errand, OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Decision, Event, now, system_time
from feature_delivery.web import workers
from feature_delivery.web.board import csrf, pulse
from feature_delivery.web.transaction import begin, session
from tests.support.board_app import browser
from tests.support.board_world import FAILURE, Planted, crowd
from tests.support.web_app import Shop, eventually

REVIEW = {"gate": "review.wait_for_review", "kind": "approve", "comment": "Well done.", "commit": ""}
HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")


@pytest.fixture
def airflow_database(busy_database: str) -> str:
    """Every test of this module begins with the busy shop."""
    return busy_database


@pytest.fixture
def rita(busy: Shop) -> Iterator[httpx.Client]:
    with browser(busy, "rita") as client:
        yield client


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"the form has no field {name}"
    return html.unescape(found[1])


def form(client: httpx.Client, path: str = "/shop/SHOP-6", **changes: str) -> dict[str, str]:
    """What the form of a feature's page would send."""
    page = client.get(path).text
    return {**REVIEW, "commit": field(page, "commit"), "token": field(page, "token"), **changes}


def decisions(key: str) -> list[Decision]:
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key(key))
        assert feature is not None
        return list(unit.books.decisions(feature))


def test_an_unexpected_error_is_a_page_without_its_reason(
    rita: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(pulse.snapshots, "get", broken)
    answer = rita.get("/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
    assert "the secret reason" in caplog.text


def test_a_decision_on_the_board_counts_and_wakes_the_run(busy: Shop, rita: httpx.Client) -> None:
    answer = rita.post("/shop/SHOP-6/decisions", data=form(rita))
    assert (answer.status_code, answer.headers["location"]) == (303, "/board/shop/SHOP-6?said=approve")
    said = decisions("SHOP-6")[-1]
    assert (said.person, said.kind, said.accepted, said.way, said.comment) == (
        "rita",
        "approve",
        True,
        "board",
        "Well done.",
    )
    assert busy.state(Step.WAIT_FOR_REVIEW, run_id="SHOP-6") == "success"
    after = rita.get("/shop/SHOP-6?said=approve").text
    assert "Your decision counts: approved." in after
    assert "Well done." in after


def test_what_may_not_count_is_refused_with_the_sentence_that_was_shown_before(busy: Shop) -> None:
    with browser(busy, "tess") as tess:
        page = tess.get("/shop/SHOP-6").text
        shown = html.unescape(re.findall(r'class="why-not"[^>]*><bdi>([^<]*)', page)[0])
        assert re.search(r"<button[^>]*value=\"approve\"[^>]* disabled", page)
        assert re.search(r"<textarea[^>]* disabled", page)
        answer = tess.post("/shop/SHOP-6/decisions", data=form(tess, comment="I <b>like</b> it"))
    rest = busy.person("tess").post(
        "/projects/shop/features/SHOP-6/decisions", json={"gate": "review", "kind": "approve"}
    )
    assert answer.status_code == 409
    assert shown == rest.json()["message"].replace(Step.WAIT_FOR_REVIEW, "Review"), "the gate by its name, not its id"
    assert f"<bdi>{html.escape(shown)}</bdi>" in answer.text
    assert "I &lt;b&gt;like&lt;/b&gt; it</textarea>" in answer.text, "what was written is not lost"
    assert [d.accepted for d in decisions("SHOP-6") if d.way == "board" and d.comment] == [False]
    # What has lost its weight since is not shown as given either: rita turned out to have worked on it herself.
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-7"))
        assert feature is not None
        Planted(unit.books, feature, now()).said(Step.WAIT_FOR_REVIEW, "rita")
    with browser(busy, "tess") as tess:
        assert "rita has approved" in tess.get("/shop/SHOP-7").text
        with begin() as unit:
            attempt = unit.books.attempt(feature)
            assert attempt is not None
            attempt.authors = [PersonName("rita")]
        assert "rita has approved" not in tess.get("/shop/SHOP-7").text


def test_a_stranger_may_look_and_is_told_why_no_more(busy: Shop) -> None:
    with browser(busy, "mallory") as mallory:
        page = mallory.get("/shop/SHOP-6").text
        assert "mallory is nobody of shop: add them to &#39;people&#39; in its project file." in page
        answer = mallory.post("/shop/SHOP-6/decisions", data=form(mallory))
    assert answer.status_code == 409
    assert "mallory is nobody of shop" in answer.text
    assert [(d.person, d.role, d.accepted) for d in decisions("SHOP-6")] == [("mallory", "", False)], "it is kept"


def test_a_rejection_without_a_comment_is_refused_and_with_one_sends_the_feature_back(
    busy: Shop, rita: httpx.Client
) -> None:
    answer = rita.post("/shop/SHOP-6/decisions", data=form(rita, kind="reject", comment="  "))
    assert (answer.status_code, "needs a comment" in answer.text) == (409, True)
    answer = rita.post("/shop/SHOP-6/decisions", data=form(rita, kind="reject", comment="The tax is wrong."))
    assert answer.status_code == 303
    overview = rita.get("/").text
    assert re.search(r'id="stage-development".*SHOP-6.*id="stage-review"', overview, re.DOTALL)
    assert "The tax is wrong." in overview


def test_a_decision_about_a_commit_that_is_no_longer_there_is_refused(rita: httpx.Client) -> None:
    answer = rita.post("/shop/SHOP-6/decisions", data=form(rita, commit="f" * 40))
    assert (answer.status_code, "look again" in answer.text) == (409, True)


def test_the_form_says_which_candidate_was_looked_at_and_another_one_is_refused(busy: Shop) -> None:
    path, gate = "/shop/SHOP-8", "preprod.wait_for_acceptance"
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-8"))
        assert feature is not None
        candidate = unit.books.candidate(feature, 1)
        assert candidate is not None
    with browser(busy, "tess") as tess:
        page = tess.get(path).text
        seen = {name: field(page, name) for name in ("gate", "attempt", "commit", "candidate")}
        assert list(seen.values()) == [gate, "1", candidate.feature_commit, candidate.commit]
        for stale in ({"candidate": "e" * 40}, {"candidate": "none"}, {"attempt": "2"}):
            answer = tess.post(f"{path}/decisions", data=form(tess, path, **seen | stale))
            assert (answer.status_code, "look again" in answer.text) == (409, True), stale
            rest = {"gate": "acceptance", "kind": "approve", "candidate": stale.get("candidate", "")}
            if len(rest["candidate"]) == 40:
                told = busy.person("tess").post("/projects/shop/features/SHOP-8/decisions", json=rest)
                assert told.status_code == 403
                assert told.json()["message"] == (
                    f"This was said about candidate eeeeeeeeee, but SHOP-8 is at candidate {candidate.commit[:10]}: "
                    "look again."
                )
        assert tess.post(f"{path}/decisions", data=form(tess, path, **seen)).status_code == 303
    assert busy.state(Step.WAIT_FOR_ACCEPTANCE, run_id="SHOP-8") == "success"


def test_glass_is_broken_for_what_the_page_showed(busy: Shop) -> None:
    with browser(busy, "olga") as olga:
        page = olga.get("/shop/SHOP-9").text
        assert 'action="/board/shop/SHOP-9/override"' in page
        data = {"gate": "preprod.wait_for_acceptance", "kind": "approve", "reason": "It burns."}
        data |= {name: field(page, name) for name in ("token", "commit", "attempt", "candidate")}
        answer = olga.post(
            "/shop/SHOP-9/override", data=data | {"candidate": "e" * 40, "reason": "It burns </textarea>"}
        )
        assert "required>It burns &lt;/textarea&gt;</textarea>" in answer.text, "what was written in haste is not lost"
        assert 'id="d-glass" open>' in answer.text
        assert (answer.status_code, "look again" in answer.text) == (409, True)
        assert olga.post("/shop/SHOP-9/override", data=data).status_code == 303


def test_a_rejection_sent_twice_is_one(rita: httpx.Client) -> None:
    data = form(rita, kind="reject", comment="The tax is wrong.")
    assert [rita.post("/shop/SHOP-6/decisions", data=data).status_code for _ in range(2)] == [303, 303]
    assert [d.kind for d in decisions("SHOP-6") if d.person == "rita"] == ["reject"]


def test_the_same_decision_sent_twice_is_one(rita: httpx.Client) -> None:
    data = form(rita)
    assert [rita.post("/shop/SHOP-6/decisions", data=data).status_code for _ in range(2)] == [303, 303]
    assert [d.accepted for d in decisions("SHOP-6") if d.person == "rita"] == [True]


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {},
]


def test_no_other_page_can_make_a_browser_decide(busy: Shop, rita: httpx.Client) -> None:
    with browser(busy, "rita") as foreign:
        del foreign.headers["Origin"], foreign.headers["Sec-Fetch-Site"]
        for headers in FOREIGN:
            answer = foreign.post("/shop/SHOP-6/decisions", data=form(rita), headers=headers)
            assert answer.status_code == 403, headers
            assert "did not come from a page of the board" in answer.text
    assert decisions("SHOP-6") == []


def test_a_token_is_one_users_and_not_for_ever(busy: Shop, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with browser(busy, "tess") as tess:
        others = form(tess)["token"]
    mine = form(rita)["token"]
    moment = mine.partition(".")[0]
    later = f"{int(moment) + 1}.{mine.partition('.')[2]}"
    for token in ("", ".", "1.2", others, later, mine[:-1], f"{mine}0", "9" * 200):
        answer = rita.post("/shop/SHOP-6/decisions", data=form(rita, token=token))
        assert answer.status_code in {403, 422}, token
    old = form(rita)
    monkeypatch.setattr(records, "time_source", lambda: system_time() + csrf.LIFETIME + timedelta(minutes=1))
    answer = rita.post("/shop/SHOP-6/decisions", data=old)
    assert (answer.status_code, "too old" in answer.text) == (403, True)
    assert decisions("SHOP-6") == []


def test_a_form_that_is_no_form_of_ours_is_a_sentence(rita: httpx.Client) -> None:
    for changes in ({"gate": "nonsense"}, {"kind": "explode"}, {"commit": "HEAD; rm -rf /"}, {"gate": ""}):
        answer = rita.post("/shop/SHOP-6/decisions", data=form(rita, **changes))
        assert answer.status_code == 403, changes
        assert 'role="alert"' in answer.text
    assert rita.post("/shop/SHOP-6/decisions", data=form(rita, comment="x" * 4001)).status_code == 422
    assert rita.post("/shop/SHOP-6/decisions", data=form(rita, comment="x" * 70_000)).status_code in {413, 422}
    assert rita.get("/shop/SHOP-6/decisions").status_code == 405
    assert decisions("SHOP-6") == []


def test_a_project_that_a_user_may_not_see_is_nowhere(
    busy: Shop, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(get_auth_manager()), "is_authorized_dag", lambda *_a, **_k: False)
    overview = rita.get("/").text
    assert "SHOP-" not in overview
    assert "No project to show" in overview
    assert 'class="key"' not in rita.get("/?q=SHOP-17").text
    for path in ("/shop/SHOP-6", "/shop/SHOP-6/live", "/shop/SHOP-6/changes", "/figures?project=shop"):
        assert rita.get(path).status_code == 403, path
    assert rita.get("/figures.csv").text.splitlines()[1:] == []
    assert rita.get("/run?dag=feature_delivery_shop&run=SHOP-6").status_code == 403


def test_a_run_in_airflow_leads_to_its_feature(rita: httpx.Client) -> None:
    answer = rita.get("/run?dag=feature_delivery_shop&run=SHOP-6")
    assert (answer.status_code, answer.headers["location"]) == (303, "/board/shop/SHOP-6?run=SHOP-6")
    page = rita.get("/shop/SHOP-6?run=SHOP-6").text
    assert 'action="/board/shop/SHOP-6/decisions?run=SHOP-6"' in page
    answer = rita.post("/shop/SHOP-6/decisions?run=SHOP-6", data=form(rita, "/shop/SHOP-6?run=SHOP-6"))
    assert answer.headers["location"] == "/board/shop/SHOP-6?run=SHOP-6&said=approve"


def test_what_a_feature_changes_can_be_read(busy: Shop, rita: httpx.Client) -> None:
    head = busy.repository.push("feature/SHOP-6-a-branch", "gift & <cards>")
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-6"))
        assert feature is not None
        attempt = unit.books.attempt(feature)
        assert attempt is not None
        attempt.commit = head  # type: ignore[assignment]
        unit.books.lock_project(ProjectName("shop")).production_commit = busy.repository.main  # type: ignore[assignment]
    page = rita.get("/shop/SHOP-6/changes")
    assert page.status_code == 200, page.text
    assert "cards.txt" in page.text
    assert "gift &amp; &lt;cards&gt;" in page.text
    assert busy.repository.main[:10] in page.text
    assert "/board/shop/SHOP-6/changes" in rita.get("/shop/SHOP-6").text


def events(client: httpx.Client, path: str, *, until: str, found: list[str], ready: threading.Event) -> None:
    with client.stream("GET", path, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            ready.set()
            found.append(line)
            if line == until:
                return


def test_an_open_page_is_told_once_when_something_changes(busy: Shop, rita: httpx.Client) -> None:
    known = re.search(r'data-changes="/board(/changes\?revision=[^"]+)"', rita.get("/").text)
    assert known
    found: list[str] = []
    ready = threading.Event()
    with browser(busy, "rita") as client:
        args = {"until": "event: changed", "found": found, "ready": ready}
        reader = threading.Thread(target=events, args=(client, html.unescape(known[1])), kwargs=args)
        reader.start()
        assert ready.wait(20)
        eventually(lambda: bool(pulse.pulse.revision))
        assert "event: changed" not in found
        assert rita.post("/shop/SHOP-6/decisions", data=form(rita)).status_code == 303
        reader.join(20)
    assert found[-1] == "event: changed"
    eventually(lambda: pulse.pulse.listeners == 0, seconds=20)


def test_many_open_pages_cost_one_small_query_a_beat(
    busy: Shop, rita: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one beat is made here: how many the worker makes while pages come depends on how they come."""
    workers.stop_all()
    known = re.search(r'data-changes="/board(/changes\?revision=[^"]+)"', rita.get("/").text)
    assert known
    said: list[str] = []
    with session() as opened:
        engine = opened.get_bind()

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    clients = [browser(busy, "rita") for _ in range(12)]
    readies = [threading.Event() for _ in clients]
    heard: list[list[str]] = [[] for _ in clients]
    threads = [
        threading.Thread(
            target=events,
            args=(client, html.unescape(known[1])),
            kwargs={"until": "event: changed", "found": found, "ready": ready},
        )
        for client, found, ready in zip(clients, heard, readies, strict=True)
    ]
    event.listen(engine, "before_cursor_execute", note)
    for thread in threads:
        thread.start()
    assert all(ready.wait(20) for ready in readies)
    with begin() as unit:
        unit.books.add(Event(project=ProjectName("shop"), feature_id=None, kind="bench", text="Something."))
    monkeypatch.setattr(pulse.snapshots, "_rests_until", -math.inf)
    pulse.pulse.beat()
    for thread in threads:
        thread.join(30)
    beats = [statement for statement in said if "UNION ALL" in statement]
    event.remove(engine, "before_cursor_execute", note)
    for client in clients:
        client.close()
    assert all("event: changed" in found for found in heard)
    assert len(beats) == 1, "pages ask for themselves"


def test_who_comes_when_too_many_pages_are_open_is_told_so(rita: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LISTENERS_LIMIT", 0)
    assert "event: full" in rita.get("/changes").text


@pytest.mark.usefixtures("busy")
def test_changes_that_come_faster_than_cards_should_be_read_are_read_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def beat() -> str:
        with pulse.pulse.listening():
            pulse.pulse.beat()
        return pulse.pulse.revision

    monkeypatch.setattr(pulse, "SHARE", 1e-9)  # a rest of days
    monkeypatch.setattr(pulse.pulse, "told_at", -math.inf)
    monkeypatch.setattr(pulse.pulse, "revision", "before")
    monkeypatch.setattr(pulse.snapshots, "_rests_until", -math.inf)
    pulse.snapshots.forget()
    old = pulse.snapshots.get()
    with begin() as unit:
        unit.books.add(Event(project=ProjectName("shop"), feature_id=None, kind="bench", text="Something."))
    assert pulse.snapshots.get() is old
    assert asyncio.run(beat()) == "before", "told now, pages would get the old cards"
    monkeypatch.setattr(pulse.snapshots, "_rests_until", -math.inf)
    told = asyncio.run(beat())
    assert told not in {"before", old.revision}
    assert pulse.snapshots.get().revision == told, "cards from before the word are never shown after it"


def test_a_stream_ends_by_itself(rita: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STREAM_SECONDS", 0.2)
    answer = rita.get("/changes")
    assert answer.text.startswith("retry: ")


def test_a_thousand_features_are_shown_with_few_queries_and_again_with_fewer(busy: Shop) -> None:
    with session() as opened:
        crowd(opened, 1000)
        engine = opened.get_bind()
    workers.stop_all()  # their queries are not the page's
    pulse.snapshots.forget()
    said: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    with browser(busy, "rita") as client:
        client.get("/figures")
        event.listen(engine, "before_cursor_execute", note)
        try:
            first = client.get("/")
            first_count = len(said)
            said.clear()
            second = client.get("/")
        finally:
            event.remove(engine, "before_cursor_execute", note)
    assert first.status_code == second.status_code == 200
    assert "1016 features under way" in first.text
    assert first.text.count('class="card') <= 8 * 25
    assert len(first.content) < 600_000
    assert first_count <= 16
    assert len(said) <= 2, said


def test_a_message_that_was_given_up_is_called_so_with_its_reason(busy: Shop, rita: httpx.Client) -> None:
    workers.stop_all()  # they would send what is planted here
    reason = "The channel refuses it: it is too long."
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-16"))
        assert feature is not None
        for entry in unit.books.outbox(feature):
            entry.sent_at, entry.error = now(), ""
        for kind, error in ((Errand.ISSUE_STATE, OUTDATED), (Errand.POST, "")):
            entry = OutboxEntry(
                project=feature.project, feature_id=feature.id, kind=kind, payload={"text": "Look."}, marker=kind
            )
            entry.sent_at, entry.error = now(), error
            unit.books.add(entry)
    page = rita.get("/shop/SHOP-16").text
    assert "some were not sent" not in page
    assert OUTDATED in page
    with begin() as unit:
        post = unit.books.outbox_marked(ProjectName("shop"), Errand.POST)
        assert post
        post.error = reason
    page = rita.get("/shop/SHOP-16").text
    assert "some were not sent" in page
    assert re.search(rf"not sent <time[^>]*>[^<]*</time> <span class=.bad-text.><bdi>{reason}", page)


def test_a_feature_page_costs_no_query_per_row(busy: Shop, rita: httpx.Client) -> None:
    assert len(_asked_for(rita, "/shop/SHOP-16")) <= 60


def test_a_feature_page_reads_no_tests_that_it_does_not_name(busy: Shop, rita: httpx.Client) -> None:
    """They are megabytes over many attempts, and every open page is made anew with every change."""
    assert _reports_read(_asked_for(rita, "/shop/SHOP-4")) == 3
    with begin() as unit:
        feature = unit.books.feature(ProjectName("shop"), feature_key("SHOP-4"))
        assert feature is not None
        feature.attempt_number = 2
    assert _reports_read(_asked_for(rita, "/shop/SHOP-4")) == 1, "of what was tested earlier, only what was red"
    shown = rita.get("/shop/SHOP-4").text
    assert FAILURE.name in shown
    assert "tests.unit.test_shop" not in shown


def _reports_read(said: list[str]) -> int:
    return sum("fd_suite_result.report" in statement for statement in said)


def _asked_for(who: httpx.Client, path: str) -> list[str]:
    """Return every statement that a page is made of."""
    workers.stop_all()  # their queries are not the page's
    with session() as opened:
        engine = opened.get_bind()
    said: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert who.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", note)
    return said


def test_time_goes_on_while_nobody_changes_anything(rita: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = re.findall(r'<time class="since" datetime="[^"]+">([^<]+)', rita.get("/").text)
    start = now()
    monkeypatch.setattr(records, "time_source", lambda: start + timedelta(days=3))
    after = re.findall(r'<time class="since" datetime="[^"]+">([^<]+)', rita.get("/").text)
    assert len(before) == len(after)
    assert before != after
