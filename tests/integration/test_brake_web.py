"""The brake over HTTP: REST, board and figures; what a held instance answers, and that it goes on afterwards."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.forking import fork
from feature_delivery.bootstrap import settings
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.services.control import brake
from feature_delivery.web import rounds
from feature_delivery.web.board import pulse
from feature_delivery.web.transaction import begin, session
from tests.support.board_app import browser
from tests.support.web_app import Shop, eventually

SHOP = ProjectName("shop")


def somewhere_else() -> None:
    """Let the ledger be where a restored dump is: in another database than it says."""
    with session() as opened:
        opened.execute(text("UPDATE fd_instance SET place = '7000000000000000000/16384'"))


def test_an_operator_stops_and_lets_go_by_rest_and_on_the_board(shop: Shop) -> None:
    olga, max_ = shop.person("olga"), shop.person("max")
    why = {"reason": "Something closes our issues."}
    refused = max_.post("/projects/shop/brakes", json=why)
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "max is no operator of shop: olga may use its brake.",
    )
    assert olga.post("/projects/shop/brakes", json=why).status_code == 201
    (on,) = max_.get("/projects/shop/brakes").json()
    assert (on["kind"], on["person"], on["released_at"]) == ("hand", "olga", None)
    with browser(shop, "max") as looking:
        page = looking.get("/").text
        assert "olga stopped all destruction in shop: Something closes our issues." in page
        assert "brake/release" not in page
    with browser(shop, "olga") as deciding:
        page = deciding.get("/").text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        target = "/shop/brake/release"
        assert deciding.post(target, data={"reason": "It is over.", "token": "0.0"}).status_code == 403
        assert deciding.post(target, data={"reason": "It is over.", "token": token}).status_code == 303
        assert "brake/release" not in deciding.get("/").text
    (off,) = max_.get("/projects/shop/brakes").json()
    assert (off["released_by"], off["release_reason"]) == ("olga", "It is over.")


def test_a_stale_page_and_a_copied_command_release_only_the_brake_they_showed(shop: Shop) -> None:
    olga, words = shop.person("olga"), {"reason": "Something closes our issues."}
    release = "/projects/shop/brakes/release"
    olga.post("/projects/shop/brakes", json=words)
    with browser(shop, "olga") as stale:
        page = stale.get("/").text
        data = {name: re.findall(rf'name="{name}" value="([^"]*)"', page)[0] for name in ("token", "brake")}
        data["reason"] = "It is over."
        (first,) = olga.get("/projects/shop/brakes").json()
        assert data["brake"] == str(first["number"])
        assert olga.post(release, json={"reason": "It is over.", "brake": first["number"]}).status_code == 200
        olga.post("/projects/shop/brakes", json=words)
        for answer in (stale.post("/shop/brake/release", data=data), olga.post(release, json=data)):
            assert answer.status_code == 403
            assert f"by now, not {first['number']}: look again" in answer.text
    second, _ = olga.get("/projects/shop/brakes").json()
    assert second["released_at"] is None
    assert olga.post(release, json={"reason": "It is over."}).status_code == 200, "as before, whichever is on"


def test_a_project_file_that_has_become_wrong_stops_nothing_and_is_shown(shop: Shop) -> None:
    file = settings.settings().projects / "shop.yaml"
    shop.start()
    file.write_text(file.read_text().replace("title:", "titel:"))
    shop.register()
    with browser(shop, "max") as looking:
        page = looking.get("/").text
        assert "field &#39;titel&#39; (line 3): it is not known here." in page
        assert "the file counts as it was when it was right" in page
    file.write_text(file.read_text().replace("titel:", "title:"))
    with browser(shop, "max") as looking:
        assert "titel" not in looking.get("/").text


def test_a_held_instance_does_nothing_says_why_and_goes_on_when_it_is_adopted(shop: Shop) -> None:
    shop.start()
    shop.register()
    somewhere_else()
    sentence = "The ledger seems to be a copy"
    for client, path, body in (
        (shop.person("max"), "/projects/shop/features", {"key": "SHOP-2", "title": "More"}),
        (shop.person("max"), "/projects/shop/features/SHOP-1/cancel", {"reason": "No."}),
        (shop.person("olga"), "/projects/shop/brakes", {"reason": "Stop."}),
        (shop.tasks, "/tasks/permits", shop.claim(Step.CREATE_BRANCH)),
        (shop.tasks, "/tasks/gates", {"task": shop.claim(Step.WAIT_FOR_START)}),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 503, path
        assert sentence in answer.json()["message"], path
    with pytest.raises(Unavailable, match=sentence):
        rounds.housekeeping()
    assert shop.person("max").get("/instance").json()["held"].startswith(sentence)
    assert shop.feature()["state"] == "active", "people may still look"
    pulse.snapshots.forget()
    with browser(shop, "max") as looking:
        assert sentence in looking.get("/").text
    assert shop.webhook({"ref": "refs/heads/main"}, "while-held").status_code == 202

    def waits() -> bool:
        with begin() as unit:
            stored = unit.books.webhook(SHOP, "while-held")
            return stored is not None and stored.processed_at is None

    assert waits()
    with session() as opened:
        books = SqlBooks(opened, new_instance=settings.new_instance())
        assert brake.held(books)
        books.settle(books.instance())
    rounds.housekeeping()
    eventually(lambda: not waits())
    assert shop.permit(Step.CREATE_BRANCH)["step"] == Step.CREATE_BRANCH


def test_a_fork_ends_the_copied_runs_in_airflow_and_tears_nothing_down(shop: Shop) -> None:
    shop.start()
    shop.register()
    assert not shop.gate(Step.WAIT_FOR_START)["outcome"]
    with session() as opened:
        said = fork(opened, SqlBooks(opened), "another", repositories={SHOP: "/srv/shop.git"})
    assert "runs ended: 1." in said
    assert "deliveries ended here: 1." in said
    with session() as opened:
        run, end = opened.execute(text("SELECT state, end_date FROM dag_run WHERE run_id = 'SHOP-1'")).one()
        states = set(opened.scalars(text("SELECT state FROM task_instance WHERE run_id = 'SHOP-1'")))
        asked = opened.scalar(text("SELECT count(*) FROM hitl_detail"))
    assert (run, end is not None, asked) == ("failed", True, 0)
    # Nothing of it is left to be run: neither the gate nor the teardowns after it.
    assert states == {"success", "skipped"}
    with begin() as unit:
        assert unit.books.instance() == "another"
        on = unit.books.brake(SHOP)
        assert on is not None
        assert "was forked from" in on.reason
