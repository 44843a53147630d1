"""Host and tracker over the web app's API: examination, Connections, new issues, commands in comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.models.connection import Connection
from sqlalchemy import func, select

from feature_delivery.bootstrap.connections import login
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import FeatureKey
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import HeardComment
from feature_delivery.web import feature_routes, rounds
from feature_delivery.web.transaction import begin, session
from tests.fakes.tracker import FakeTracker
from tests.support.web_app import PROJECT_FILE, Shop, eventually


def findings(shop: Shop) -> dict[str, dict[str, Any]]:
    answer = shop.person("max").get("/projects/shop/examination")
    assert answer.status_code == 200, answer.text
    return {one["what"]: one for one in answer.json()}


def test_a_local_project_is_examined_from_the_running_instance(shop: Shop) -> None:
    found = findings(shop)
    assert {what: one["well"] for what, one in found.items()} == {
        "shop: git": True,
        "shop: branch main": True,
        "shop: branch preprod": True,
        "shop: webhook": True,
        "shop: people": True,
    }
    assert "/feature-delivery/webhooks/shop" in found["shop: webhook"]["sentence"]


def test_only_who_may_see_a_project_may_examine_it(shop: Shop) -> None:
    assert shop.nobody.get("/projects/shop/examination").status_code == 401
    assert shop.person("max").get("/projects/nope/examination").status_code == 404


def test_a_connection_that_is_missing_is_a_finding(shop: Shop, tmp_path: Path) -> None:
    text = PROJECT_FILE.format(repository="https://git.example/shop/cart.git")
    text += "host: {kind: github, connection: nowhere}\ntracker: {kind: jira, connection: nowhere, project: SHOP}\n"
    (tmp_path / "projects" / "shop.yaml").write_text(text)
    found = findings(shop)
    for what in ("shop: git", "shop: host github", "shop: tracker jira"):  # before any adapter is made
        assert not found[what]["well"]
        assert "no Airflow Connection 'nowhere'" in found[what]["sentence"], found[what]
    assert "dora" in found["shop: people"]["sentence"]


def test_nobody_acts_on_the_local_host_or_tracker_of_a_project_that_has_others(shop: Shop, tmp_path: Path) -> None:
    """Number 1 of the local host would be somebody else's request on the real one, closed by us in the end."""
    file = tmp_path / "projects" / "shop.yaml"
    text = PROJECT_FILE.format(repository="https://git.example/shop/cart.git")
    shop.person("max").post("/projects/shop/issues", json={"key": "SHOP-1", "title": "Pens"})
    file.write_text(f"{text}host: {{kind: github, connection: there}}\n")
    path = "/projects/shop"
    opened = shop.person("dora").post(f"{path}/requests", json={"source": "feature/SHOP-1-pens"})
    assert opened.status_code == 403
    assert "on github: open, read and review them there" in opened.text
    assert shop.person("rita").post(f"{path}/requests/1/reviews", json={"kind": "approve"}).status_code == 403
    assert shop.person("rita").post(f"{path}/requests/1/comments", json={"text": "/approve"}).status_code == 403
    assert shop.person("dora").post(f"{path}/issues/SHOP-1/assign", json={}).status_code == 200, "its own tracker"
    file.write_text(
        f"{text}host: {{kind: github, connection: there}}\ntracker: {{kind: jira, connection: there, project: SHOP}}\n"
    )
    for last, body in (("", {"key": "SHOP-2", "title": "Ink"}), ("/SHOP-1/move", {"state": "done"})):
        answer = shop.person("dora").post(f"{path}/issues{last}", json=body)
        assert answer.status_code == 403
        assert "on jira" in answer.text


def test_a_connection_of_airflows_database_is_read_in_the_api_server(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")  # as the API server sets it itself
    with session() as opened:
        extra = '{"ca_file": "/etc/ca.pem"}'
        made = {"conn_id": "gh", "conn_type": "http", "host": "git.example/api", "port": 8443, "login": "bot"}
        opened.add(Connection(**made, password="tok%en&1", extra=extra))
    found = login("gh")
    assert found == Login(
        connection="gh",
        url="https://git.example:8443/api",
        user="bot",
        secret="tok%en&1",
        options={"ca_file": "/etc/ca.pem"},
    )
    assert "tok" not in repr(found)
    with session() as opened:
        opened.delete(opened.scalars(select(Connection).where(Connection.conn_id == "gh")).one())
    with pytest.raises(Misconfigured, match="no Airflow Connection 'gh'"):
        login("gh")


def test_a_feature_without_a_key_gets_one_from_its_tracker(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = FakeTracker()
    tracker.given(FeatureKey("SHOP-41"))
    monkeypatch.setattr(feature_routes, "tracker", lambda *_: tracker)
    answer = shop.person("max").post("/projects/shop/features", json={"title": "Gift cards", "description": "Sell."})
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"started": True, "run_id": "SHOP-42", "key": "SHOP-42"}
    issue = tracker.kept[FeatureKey("SHOP-42")]
    assert (issue.title, issue.description, issue.reporter) == ("Gift cards", "Sell.", "max")
    assert shop.feature("SHOP-42")["title"] == "Gift cards"


def test_where_people_give_out_keys_one_must_be_named(shop: Shop) -> None:
    answer = shop.person("max").post("/projects/shop/features", json={"title": "Gift cards"})
    assert answer.status_code == 403
    assert "does not give out keys" in answer.json()["message"]
    answer = shop.person("max").post("/projects/shop/features", json={"title": "  "})
    assert "needs a title" in answer.json()["message"]
    assert shop.person("max").get("/projects/shop/features").json() == []


def in_review(shop: Shop) -> tuple[str, int]:
    """Bring SHOP-1 so far that a request is open and has been seen; return the branch's head and its number."""
    head = shop.repository.push("feature/SHOP-1-cards", "cards")
    shop.start()
    shop.register()
    shop.person("dora").post("/projects/shop/features/SHOP-1/decisions", json={"gate": "start", "kind": "approve"})
    shop.gate(Step.WAIT_FOR_START)
    facts: dict[str, Any] = {
        "branch": "feature/SHOP-1-cards",
        "head": head,
        "production": shop.repository.main,
        "created": False,
    }
    shop.perform(Step.CREATE_BRANCH, kind="branch_ready", ahead=True, authors=["dora@shop.example"], **facts)
    body = {"source": "feature/SHOP-1-cards", "title": "Gift cards"}
    answer = shop.person("dora").post("/projects/shop/requests", json=body)
    assert answer.status_code == 201, answer.text
    return head, int(answer.json()["number"])


def comments(shop: Shop, number: int) -> list[tuple[str, str]]:
    answer = shop.person("max").get(f"/projects/shop/requests/{number}")
    return [(one["author"], one["text"]) for one in answer.json()["comments"]]


def test_a_command_in_a_comment_is_acted_upon_at_once_and_once(shop: Shop) -> None:
    _, number = in_review(shop)
    path = f"/projects/shop/requests/{number}/comments"
    assert shop.person("rita").post(path, json={"text": "/approve review"}).status_code == 201
    assert shop.person("tess").post(path, json={"text": "/approve confirmation"}).status_code == 201
    for _ in range(3):
        rounds.reconcile_all()
    with begin() as unit:
        feature = unit.books.features()[0]
        found = [
            (d.person, d.step, d.accepted) for d in unit.books.decisions(feature) if d.way in {"review", "comment"}
        ]
    assert found == [("rita", Step.WAIT_FOR_REVIEW, True), ("tess", Step.WAIT_FOR_CONFIRMATION, False)]
    with session() as opened:
        assert opened.scalar(select(func.count()).select_from(HeardComment)) == 2
    eventually(lambda: any("tess is not manager" in text for _, text in comments(shop, number)))


def test_the_request_shows_one_status_comment_and_its_commit_statuses(shop: Shop) -> None:
    head, number = in_review(shop)
    path = f"/projects/shop/requests/{number}/comments"
    shop.person("tess").post(path, json={"text": "/approve"})
    eventually(lambda: any(text.startswith("### Delivery of SHOP-1 Gift cards") for _, text in comments(shop, number)))
    shop.person("tess").post(path, json={"text": "/approve acceptance"})
    eventually(lambda: len(comments(shop, number)) >= 4)
    rounds.housekeeping()
    ours = [text for author, text in comments(shop, number) if author == "feature-delivery"]
    assert sum(text.startswith("### ") for text in ours) == 1
    assert head[:10] in next(text for text in ours if text.startswith("### "))


def test_two_processes_that_hear_the_same_comment_act_once(shop: Shop) -> None:
    """Rows are unique in the database itself: whoever comes second finds it done, or is taken back whole."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from feature_delivery.bootstrap.outside import local_host  # noqa: PLC0415
    from feature_delivery.bootstrap.settings import project  # noqa: PLC0415
    from feature_delivery.services.control.comments import hear  # noqa: PLC0415

    _, number = in_review(shop)
    host = local_host(project("shop"), session)
    host.write(number, "/approve review", author="rita")
    found = host.comments(number)

    def once(_: int) -> list[str]:
        with begin() as unit:
            return hear(unit, project("shop"), "SHOP-1", number, found)

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(once, range(16)))
    assert sum(map(len, said)) == 1
    with begin() as unit:
        feature = unit.books.features()[0]
        assert [d.person for d in unit.books.decisions(feature) if d.way in {"review", "comment"}] == ["rita"]
