"""What people see of webhooks, over REST and on the command line, and looking into one once more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from feature_delivery.cli import webhook_commands
from feature_delivery.cli.api import Api, Login
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.records import WebhookDelivery
from feature_delivery.services.control.kept import LISTING
from feature_delivery.web import rounds
from feature_delivery.web.transaction import begin, session
from tests.support.command_line import Command
from tests.support.web_app import SECRET, Shop, eventually
from tests.support.webhooks import (
    github,
    post,
)

PUSH = {"ref": "refs/heads/feature/SHOP-1-cards", "after": "a" * 40, "sender": {"login": "dora"}}
Row = WebhookDelivery


def test_webhooks_are_listed_looked_into_and_counted(quiet: Shop) -> None:
    for number in range(5):
        post(quiet, github("push", PUSH, SECRET, delivery=f"push-{number}"))
    for number in range(3):
        post(quiet, github("ping", {"zen": number}, SECRET, delivery=f"ping-{number}"))
    post(quiet, github("push", {**PUSH, "ref": "refs/tags/v1"}, SECRET))
    client = quiet.person("tess")
    found = client.get("/webhooks/shop/deliveries").json()
    assert found["counts"] == {"waiting": 5, "processed": 0, "ignored": 4}
    assert found["ignored"] == {"the event 'ping'": 3, "a tag": 1}
    assert [one["delivery"] for one in found["deliveries"][1:4]] == ["ping-2", "ping-1", "ping-0"]
    rounds.process_webhooks()
    found = client.get("/webhooks/shop/deliveries?state=processed&limit=2").json()
    assert [one["delivery"] for one in found["deliveries"]] == ["push-4", "push-3"]
    assert {one["result"] for one in found["deliveries"]} == {"Nothing new."}
    last = found["deliveries"][-1]["id"]
    found = client.get(f"/webhooks/shop/deliveries?state=processed&before={last}").json()
    assert [one["delivery"] for one in found["deliveries"]] == ["push-2", "push-1", "push-0"]
    number = found["deliveries"][0]["id"]
    view = client.get(f"/webhooks/shop/deliveries/{number}").json()
    assert view == client.get("/webhooks/shop/deliveries/push-2").json()
    assert json.loads(view["body"]) == PUSH
    assert view["headers"]["x-hub-signature-256"] == "(not kept)"
    assert view["headers"]["x-github-event"] == "push"
    assert (view["state"], view["tries"]) == ("processed", 1)


def test_webhooks_are_for_who_may_see_the_project_and_replays_for_operators(quiet: Shop, tmp_path: Path) -> None:
    post(quiet, github("push", PUSH, SECRET, delivery="d-1"))
    paths = ("/webhooks/shop/deliveries", "/webhooks/shop/deliveries/d-1")
    for path in paths:
        assert quiet.nobody.get(path).status_code == 401
        assert quiet.person("mallory", role="viewer").get(path).status_code == 200
        assert quiet.person("max").get(path.replace("shop", "nope")).status_code == 404
    replay = "/webhooks/shop/deliveries/d-1/replay"
    assert quiet.nobody.post(replay, json={}).status_code == 401
    for name in ("mallory", "max", "dora"):
        assert quiet.person(name).post(replay, json={}).status_code == 403
    assert quiet.person("olga").post(replay, content=b"{}").status_code == 403, "a foreign page's form"
    assert quiet.person("olga").post(replay, json={}).status_code == 200
    assert quiet.person("olga").post("/webhooks/shop/deliveries/nope/replay", json={}).status_code == 404
    rounds.reconcile_all()
    for strange in (LISTING, "nope", "0", "9" * 30, "%00", "💳", "1;drop table"):
        assert quiet.person("max").get(f"/webhooks/shop/deliveries/{strange}").status_code == 404, strange
    for query in ("state=nope", "limit=0", "limit=201", "before=0", "before=99999999999", "before=x"):
        assert quiet.person("max").get(f"/webhooks/shop/deliveries?{query}").status_code == 422, query


def test_a_replay_is_looked_into_and_what_was_done_is_not_done_again(shop: Shop) -> None:
    rounds.reconcile_all()  # from now on, what is pushed is new
    shop.repository.push("feature/SHOP-1-cards", "cards")
    assert post(shop, github("push", PUSH, SECRET, delivery="d-1")).status_code == 202

    def result() -> Any:
        return shop.person("max").get("/webhooks/shop/deliveries/d-1").json()

    eventually(lambda: result()["state"] == "processed")
    assert "SHOP-1: started by dora" in result()["result"]
    answer = shop.person("olga").post("/webhooks/shop/deliveries/d-1/replay", json={}).json()
    assert (answer["state"], answer["result"], answer["tries"]) == ("waiting", "", 0)
    eventually(lambda: result()["state"] == "processed")
    assert "started" not in result()["result"]
    lines = shop.person("max").get("/projects/shop/features").json()
    assert [line["run_id"] for line in lines] == ["SHOP-1"]


def test_a_replay_is_read_by_todays_rules_and_without_its_body_by_those_of_then(quiet: Shop) -> None:
    post(quiet, github("push", PUSH, SECRET, delivery="known"))
    post(quiet, github("ping", {}, SECRET, delivery="ignored"))
    with begin() as unit:
        for name in ("known", "ignored"):  # as an older version understood them
            row = unit.books.webhook(ProjectName("shop"), name)
            assert row
            row.ignored, row.hint, row.processed_at = "the event 'push'", {"unheard": 1}, row.received_at
    olga = quiet.person("olga")

    def replayed(name: str) -> tuple[str, str]:
        answer = olga.post(f"/webhooks/shop/deliveries/{name}/replay", json={}).json()
        return answer["state"], answer["ignored"]

    assert replayed("known") == ("waiting", "")
    assert replayed("ignored") == ("ignored", "the event 'ping'")
    rounds.process_webhooks()
    with session() as opened:
        opened.execute(update(Row).values(body=b"", headers={}))
    assert replayed("known") == ("waiting", "")
    assert replayed("ignored") == ("ignored", "the event 'ping'")
    rounds.process_webhooks()
    assert olga.get("/webhooks/shop/deliveries/known").json()["body"] == ""


def as_api(shop: Shop, user: str) -> Api:
    """The command line's client, with the web app at the place where Airflow mounts it."""
    client = shop.person(user)

    def forward(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "x"})
        path = request.url.raw_path.decode().removeprefix("/feature-delivery")
        kind = {"Content-Type": request.headers.get("content-type", "")}
        return client.request(request.method, path, content=request.content, headers=kind)

    return Api(Login(shop.address, user, "x"), transport=httpx.MockTransport(forward))


def test_the_command_line_lists_shows_and_replays(
    quiet: Shop, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(webhook_commands, "connect", lambda _home, *, speak_as="": as_api(quiet, speak_as or "olga"))
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path))
    monkeypatch.setenv("FEATURE_DELIVERY_PROJECTS", str(tmp_path / "projects"))
    assert "No webhook." in command("webhooks").out
    post(quiet, github("push", PUSH, SECRET, delivery="d-1"))
    post(quiet, github("ping", {"zen": "[red]x[/red]"}, SECRET, delivery="d-2"))
    rounds.process_webhooks()
    listed = command("webhooks", "list").out
    assert command("webhooks").out == listed
    for words in ("github", "push", "processed", "Nothing new.", "1 times the event 'ping'", "1 ignored"):
        assert words in listed
    assert "push" not in command("webhooks", "list", "--state", "ignored").out.split("Not for us")[0]
    assert json.loads(command("webhooks", "list", "--json").out)["counts"]["ignored"] == 1
    shown = command("webhooks", "show", "d-2").out
    for words in ("ping from github", "not for us: the event 'ping'", "x-github-delivery: d-2", "[red]x[/red]"):
        assert words in shown
    assert "(not kept)" in shown
    assert "It is looked into." in command("webhooks", "replay", "d-1").out
    assert "still not for us" in command("webhooks", "replay", "d-2").out
    command("webhooks", "show", "../../x").refused("is no webhook")
    command("webhooks", "show", "nope").refused("has no webhook 'nope'")
    command("webhooks", "replay", "d-1", "--as", "tess").refused("may not replay webhooks")
    assert command("webhooks", "list", "--limit", "0").code == 2
