"""The board's pages over HTTP, as they are read: nothing here changes anything, so that one shop serves all tests."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import httpx
import pytest

from feature_delivery.adapters.ledger.board_books import SqlBoardBooks
from feature_delivery.domain.names import ProjectName
from feature_delivery.ports.board import FeatureRow
from feature_delivery.web.board import routes
from feature_delivery.web.board.language import languages
from feature_delivery.web.board.routes import router
from feature_delivery.web.errors import CODES
from tests.support.board_app import browser
from tests.support.board_world import HOSTILE
from tests.support.web_app import Shop

HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")
SENT = {"gate": "review.wait_for_review", "kind": "approve"}


@pytest.fixture
def rita(shown: Shop) -> Iterator[httpx.Client]:
    with browser(shown, "rita") as client:
        yield client


def test_nobody_sees_anything_without_a_login_and_is_led_to_it_and_back(shown: Shop) -> None:
    with httpx.Client(base_url=shown.address, timeout=60, trust_env=False) as nobody:
        for path in ("/board/?q=a%20b", "/board/figures", "/board/shop/SHOP-6", "/board/run?dag=x&run=y"):
            answer = nobody.get(path)
            assert answer.status_code == 303, path
            target = httpx.URL(answer.headers["location"])
            assert target.path == "/api/v2/auth/login"
            assert target.params["next"] == path
        # What a script fetches is no place for a login page.
        for path in ("/board/live", "/board/changes", "/board/shop/SHOP-6/live"):
            assert nobody.get(path, headers={"Sec-Fetch-Dest": "empty"}).status_code == 401, path
        assert nobody.post("/board/shop/SHOP-6/decisions", data=SENT).status_code == 401
        wrong = nobody.get("/board/", headers={"Cookie": "_token=nonsense"})
        assert (wrong.status_code, "login" in wrong.headers["location"]) == (303, True)


def test_every_answer_forbids_what_a_page_of_ours_never_does(shown: Shop, rita: httpx.Client) -> None:
    paths = ["/", "/live", "/figures", "/figures.csv", "/shop/SHOP-6", "/shop/SHOP-999", "/nothing/at/all"]
    answers = [rita.get(path) for path in [*paths, "/static/board.css", "/static/../app.py"]]
    answers += [rita.post("/shop/SHOP-6/decisions", data={}), rita.get("", follow_redirects=False)]
    answers.append(httpx.get(shown.address + "/board/", trust_env=False))
    for answer in answers[:-2]:
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    assert all(name in answers[-1].headers for name in HEADERS)


def test_pages_hold_no_script_and_no_style_of_their_own(rita: httpx.Client) -> None:
    for path in ("/", "/figures", "/shop/SHOP-6", "/shop/SHOP-4", "/shop/SHOP-14", "/shop/SHOP-16", "/shop/SHOP-999"):
        page = rita.get(path).text
        assert not re.search(r"<script(?![^>]* src=)", page), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page), path


def test_hostile_titles_and_messages_are_text(rita: httpx.Client) -> None:
    for path in ("/", "/live", "/shop/SHOP-9", "/shop/SHOP-4"):
        page = rita.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page or path == "/shop/SHOP-9"
    assert html.escape(HOSTILE[:20]).replace("&#x27;", "&#39;") in rita.get("/shop/SHOP-9").text


def test_the_overview_has_every_feature_in_its_column(rita: httpx.Client) -> None:
    page = rita.get("/").text
    sections = dict(re.findall(r'id="stage-(\w+)".*?</h2>(.*?)</section>', page, re.DOTALL))
    wanted = {
        "development": {15, 2, 1, 3},
        "review": {4, 5, 6, 7},
        "acceptance": {8, 9, 10},
        "confirmation": {11},
        "queue": {12, 13},
        "production": {14},
        "delivered": set(range(16, 23)),
        "stopped": {23},
    }
    for stage, numbers in wanted.items():
        assert set(map(int, re.findall(r'class="key">SHOP-(\d+)', sections[stage]))) == numbers, stage
    assert "<strong>2</strong> wait for me" in page


def test_filters_are_in_the_address(rita: httpx.Client) -> None:
    mine = rita.get("/", params={"person": "me"}).text
    assert set(re.findall(r'class="key">(SHOP-\d+)', mine)) == {"SHOP-6", "SHOP-7"}
    assert re.findall(r'<option value="rita" selected>', mine)
    found = rita.get("/", params={"q": "pay INVOICE"}).text
    assert set(re.findall(r'class="key">(SHOP-\d+)', found)) == {"SHOP-3", "SHOP-11", "SHOP-19"}
    assert "Nothing matches" in rita.get("/", params={"q": "<nothing>"}).text


def test_what_has_ended_is_searched_in_the_project_that_is_asked_for_only(
    rita: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another project's newer ones, of which only so many are found, would push its own out of the list."""
    among: list[set[str]] = []

    def found(_books: object, _text: str, projects: Collection[ProjectName], *, limit: int) -> tuple[FeatureRow, ...]:
        assert limit
        among.append(set(projects))
        return ()

    monkeypatch.setattr(routes, "visible", lambda _user: frozenset({ProjectName("shop"), ProjectName("other")}))
    monkeypatch.setattr(SqlBoardBooks, "search_ended", found)
    for project in ("shop", "", "nope"):
        assert rita.get("/", params={"q": "gift", "project": project}).status_code == 200
    assert among == [{"shop"}, {"shop", "other"}, set()]


def test_nothing_changes_by_reading() -> None:
    changing = [route.path for route in router.routes if route.methods != {"GET"}]  # type: ignore[attr-defined]
    assert changing == ["/{project}/brake/release", "/{project}/{key}/decisions", "/{project}/{key}/override"]


def test_what_is_not_there_is_a_page_with_a_sentence(rita: httpx.Client) -> None:
    for path, code in [
        ("/shop/SHOP-999", 404),
        ("/nope/SHOP-1", 404),
        ("/shop/<script>", 403),
        ("/shop/SHOP-6?run=SHOP-7", 404),
        ("/run?dag=other&run=x", 404),
        ("/run?dag=feature_delivery_shop&run=SHOP-999", 404),
        ("/figures?project=nope", 404),
        ("/figures?weeks=many", 422),
    ]:
        answer = rita.get(path)
        assert answer.status_code == code, path
        assert answer.headers["content-type"].startswith("text/html")
        assert "<script>" not in answer.text
    assert set(CODES.values()) >= {403, 404, 409, 422}


def test_every_link_leads_somewhere(rita: httpx.Client) -> None:
    seen: set[str] = set()
    left = ["/", "/figures", "/shop/SHOP-8", "/shop/SHOP-16"]
    while left and len(seen) < 60:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = rita.get(path)
        # The planted commits are in no repository.
        assert answer.status_code == (404 if "/changes" in path else 200), path
        for link in re.findall(
            r'(?:href|src)="([^"#]+)', answer.text if "html" in answer.headers["content-type"] else ""
        ):
            url = html.unescape(link)
            if url.startswith("?"):
                url = path.partition("?")[0] + url
            if url.startswith("/board/") or url == path.partition("?")[0] + url:
                left.append(url.removeprefix("/board"))
    assert len(seen) > 40


def test_static_files_are_kept_until_they_change(rita: httpx.Client) -> None:
    page = rita.get("/").text
    for name in ("board.css", "board.js", "theme.js", "board.svg"):
        link = re.search(rf'"/board(/static/{name}\?v=\w{{12}})"', page)
        assert link, name
        assert "immutable" in rita.get(link[1]).headers["cache-control"]
    assert rita.get("/").headers["cache-control"] == "no-store"
    assert rita.get("/static/../routes.py").status_code == 404
    assert rita.get("/static/..%2froutes.py").status_code == 404


def test_the_language_is_the_readers_and_is_remembered(shown: Shop) -> None:
    with browser(shown, "rita", **{"Accept-Language": "ru,en;q=0.5"}) as client:
        assert "Приёмка" in client.get("/").text
        english = client.get("/?lang=en&q=gift")
        assert 'lang="en"' in english.text
        cookie = english.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Acceptance" in client.get("/shop/SHOP-8").text
        assert "set-cookie" not in client.get("/").headers
        russian = client.get("/shop/SHOP-8?lang=ru").text
        assert "Нужно одобрений: 1. Решает: tess." in russian
        assert client.get("/?lang=xx").status_code == 200


def test_the_figures_are_those_of_the_ledger(rita: httpx.Client) -> None:
    page = rita.get("/figures?weeks=26").text
    assert "9 releases, of which 1 rolled back" in page
    assert "12 %" in page
    answer = rita.get("/figures.csv?project=shop&weeks=26")
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'attachment; filename="feature-delivery-shop-' in answer.headers["content-disposition"]
    rows = [line.split(",") for line in answer.text.splitlines()]
    assert rows[0][:5] == ["project", "week", "releases", "kept", "rolled_back"]
    assert len(rows) == 27
    assert [sum(int(row[column]) for row in rows[1:]) for column in (2, 3, 4)] == [9, 7, 1]


def test_several_projects_stand_side_by_side_in_the_figures(rita: httpx.Client) -> None:
    assert "Per project" not in rita.get("/figures").text
    own = Path(os.environ["FEATURE_DELIVERY_PROJECTS"], "shop.yaml")
    other = own.with_name("stall.yaml")
    text = own.read_text().replace("name: shop", "name: stall").replace("The shop", "The <stall>")
    other.write_text(text.replace("  tess: {roles: [tester]}\n", "").replace("[reviewer]", "[reviewer, tester]"))
    try:
        board = rita.get("/").text
        page = rita.get("/figures?weeks=26").text
        alone = rita.get("/figures?weeks=26&project=shop").text
    finally:
        other.unlink()
    assert "<bdi>The &lt;stall&gt;</bdi>: <bdi>Review and acceptance take 2 people" in board
    assert "<bdi>The shop</bdi>: <bdi>" not in board
    table = page[page.index("Per project") :].partition("</table>")[0]
    rows = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in table.split("<tr>")[2:]]
    assert [re.sub("<.*?>", "", row[0]) for row in rows] == ["The shop", "The &lt;stall&gt;"]
    assert [row[1] for row in rows] == ["9", "0"]
    assert "Per project" not in alone


def test_the_page_of_a_feature_says_where_its_time_went(rita: httpx.Client) -> None:
    page = rita.get("/shop/SHOP-16").text
    assert "Waiting for people" in page
    assert page.count('class="fill-work') > 5
    assert "Queueing for production" in page


def test_stations_show_every_row_of_the_process_with_its_log(rita: httpx.Client) -> None:
    page = rita.get("/shop/SHOP-8").text
    numbers = re.findall(r'class="dot" aria-hidden="true">(\w+)<', page)
    assert numbers == [*map(str, range(1, 21)), "R1", "R2", "21", "22", "23"]
    assert 'aria-current="step"' in page
    assert '/dags/feature_delivery_shop/runs/SHOP-8/tasks/preprod.wait_for_acceptance"' in page


def test_failures_are_shown_with_what_the_test_said(rita: httpx.Client) -> None:
    page = rita.get("/shop/SHOP-4").text
    assert "assert Decimal(&#39;12.00&#39;) == Decimal(&#39;10.00&#39;)" in page
    assert "1 of 15 failed" in page


@pytest.mark.parametrize("language", sorted(languages()))
def test_every_feature_has_a_page_in_every_language(rita: httpx.Client, language: str) -> None:
    for number in range(1, 24):
        for path in ("", "/live"):
            answer = rita.get(f"/shop/SHOP-{number}{path}", headers={"Accept-Language": language})
            assert answer.status_code == 200, f"SHOP-{number}{path}"
            assert f"SHOP-{number}</span>" in answer.text
