"""Slack and the web app over real HTTP, through Airflow's Slack hook: asked there, pressed there, decided here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from sqlalchemy import Engine, func, select

from feature_delivery.adapters.ledger.tables import outbox
from feature_delivery.adapters.messengers.slack import Interactions
from feature_delivery.bootstrap import messengers, settings
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.ports.messenger import Question
from feature_delivery.web import rounds, task_logs
from feature_delivery.web.transaction import session
from tests.fakes.slack import CHANNEL, SIGNING_SECRET, TOKEN, FakeSlack, Said, fake_slack, signed_request
from tests.support.web_app import Shop, eventually, running_shop

MESSAGES = f"""
messages:
  kind: slack
  connection: slack
  channel: {CHANNEL}
  mentions: {{rita: U0RITA}}
"""


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with fake_slack() as found:
        found.users = {"U0DORA": "dora@shop.example", "U0RITA": "", "U0EVE": "eve@else.example"}
        yield found


@pytest.fixture
def shop(airflow_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slack: FakeSlack) -> Iterator[Shop]:
    """The shop of the web app's tests, with its messages in Slack."""
    entry = {
        "conn_type": "slack",
        "password": TOKEN,
        "extra": {"base_url": slack.url, "signing_secret": SIGNING_SECRET.decode()},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps(entry))
    messengers._secrets.clear()
    messengers._accounts.clear()
    monkeypatch.setattr("tests.support.web_app.PROJECT_FILE", _file())
    with running_shop(tmp_path, monkeypatch) as found:
        yield found


def _file() -> str:
    from tests.support.web_app import PROJECT_FILE  # noqa: PLC0415 - as it is before it is replaced

    return PROJECT_FILE + MESSAGES.replace("{", "{{").replace("}", "}}")


def pressed(shop: Shop, request: tuple[dict[str, str], bytes], **headers: str) -> httpx.Response:
    told, body = request
    return shop.nobody.post("/slack/interactions", content=body, headers=told | headers)


def asked(shop: Shop, slack: FakeSlack) -> Said:
    """Bring a feature to its first gate and wait for the question in Slack."""
    shop.start()
    shop.register()
    shop.gate(Step.WAIT_FOR_START)
    eventually(lambda: any(one.buttons() for one in slack.said()))
    return next(one for one in slack.said() if one.buttons())


def hearings() -> int:
    with session() as opened:
        return int(opened.scalar(select(func.count()).where(outbox.c.kind == Errand.HEAR)) or 0)


def test_a_button_in_slack_ends_the_gate_and_goes(shop: Shop, slack: FakeSlack) -> None:
    said = asked(shop, slack)
    assert "<@U0DORA>" in said.text
    answer = pressed(shop, slack.press("U0DORA", said, "Approve"))
    assert (answer.status_code, answer.content) == (200, b"")
    eventually(lambda: not said.buttons())
    assert "dora approved in Slack." in said.words()
    assert shop.gate(Step.WAIT_FOR_START)["outcome"] == "started"
    assert slack.whispers("U0DORA") == []


def test_a_refusal_is_whispered_and_the_same_press_again_counts_once(shop: Shop, slack: FakeSlack) -> None:
    said = asked(shop, slack)
    request = slack.press("U0EVE", said, "Approve")
    assert [pressed(shop, request).status_code for _ in range(2)] == [200, 200]
    eventually(lambda: bool(slack.whispers("U0EVE")))
    assert hearings() == 1
    assert "Nobody of shop has your account" in slack.whispers("U0EVE")[0]
    assert said.buttons()


def test_a_button_of_the_secret_before_is_answered_and_signed_anew(
    shop: Shop, slack: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = asked(shop, slack)
    extra = {"base_url": slack.url, "signing_secret": "another"}
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slack", "password": TOKEN, "extra": extra}))
    messengers._secrets.clear()
    headers, body = slack.press("U0DORA", said, "Approve")
    assert pressed(shop, (headers, body)).status_code == 401, "the secret before counts for nothing any more"
    renewed = signed_request(json.loads(parse_qs(body.decode())["payload"][0]), secret=b"another")
    answer = pressed(shop, renewed)
    assert (answer.status_code, answer.content) == (200, b"")
    eventually(lambda: bool(slack.whispers("U0DORA")))
    assert "not used any more" in slack.whispers("U0DORA")[0]
    view = {"callback_id": "reject", "private_metadata": f"{CHANNEL} 1.1 x.[]"}
    form = {"type": "view_submission", "user": {"id": "U0DORA"}, "view": view}
    sent = pressed(shop, signed_request(form, secret=b"another"))
    assert "not used any more" in sent.json()["errors"]["comment"]
    assert hearings() == 0
    before = said.buttons()["Approve"]["value"]
    rounds.housekeeping()
    eventually(lambda: said.buttons()["Approve"]["value"] != before, seconds=20)
    _, body = slack.press("U0DORA", said, "Approve")
    renewed = signed_request(json.loads(parse_qs(body.decode())["payload"][0]), secret=b"another")
    assert pressed(shop, renewed).status_code == 200
    eventually(lambda: not said.buttons())
    assert "dora approved in Slack." in said.words()


def test_nobody_but_slack_is_listened_to(shop: Shop, slack: FakeSlack) -> None:
    said = asked(shop, slack)
    headers, body = slack.press("U0DORA", said, "Approve")
    stamp = "x-slack-request-timestamp"
    old = signed_request({"type": "block_actions"}, at=float(headers[stamp]) - 400)
    refused = [
        shop.nobody.post("/slack/interactions", content=body),
        pressed(shop, (headers, body + b"x")),
        pressed(shop, (headers, body), **{stamp: str(int(headers[stamp]) + 1)}),
        pressed(shop, old),
        pressed(shop, signed_request({"type": "block_actions"}, secret=b"guessed")),
        shop.person("max").post("/slack/interactions", content=body),
    ]
    assert [one.status_code for one in refused] == [401] * len(refused)
    assert len({one.text for one in refused}) == 1  # nothing is told about why
    assert pressed(shop, (headers, b"x" * 300_000)).status_code == 413
    assert hearings() == 0


def test_a_rejection_opens_a_form_that_wants_a_reason(shop: Shop, slack: FakeSlack) -> None:
    said = asked(shop, slack)
    question = Question(run_id="SHOP-1", gate=Step.WAIT_FOR_REVIEW, attempt=0, commit=None, candidate=None, kinds=())
    value = Interactions(ProjectName("shop"), (SIGNING_SECRET,)).sign(question, DecisionKind.REJECT)
    action = {"action_id": "decide:reject", "value": value, "action_ts": "1.2"}
    assert pressed(shop, slack.press("U0RITA", said, "Approve", actions=[action])).status_code == 200
    eventually(lambda: bool(slack.views))
    answer = pressed(shop, slack.submit("U0RITA", ""))
    assert answer.json()["response_action"] == "errors"
    assert "needs a comment" in answer.json()["errors"]["comment"]
    answer = pressed(shop, slack.submit("U0RITA", "It is red."))
    assert (answer.status_code, answer.content) == (200, b"")
    eventually(lambda: bool(slack.whispers("U0RITA")))
    assert hearings() == 1


def test_a_form_that_did_not_open_is_said_so(shop: Shop, slack: FakeSlack) -> None:
    said = asked(shop, slack)
    question = Question(run_id="SHOP-1", gate=Step.WAIT_FOR_REVIEW, attempt=0, commit=None, candidate=None, kinds=())
    value = Interactions(ProjectName("shop"), (SIGNING_SECRET,)).sign(question, DecisionKind.REJECT)
    action = {"action_id": "decide:reject", "value": value, "action_ts": "1.2"}
    headers, body = slack.press("U0RITA", said, "Approve", actions=[action])
    slack.triggers.clear()
    assert pressed(shop, (headers, body)).status_code == 200
    eventually(lambda: bool(slack.whispers("U0RITA")))
    assert "did not open" in slack.whispers("U0RITA")[0]


def test_slack_down_keeps_nobody_waiting_and_everything_comes_later(shop: Shop, slack: FakeSlack) -> None:
    slack.token = "another"
    shop.start()
    shop.register()
    shop.gate(Step.WAIT_FOR_START)
    eventually(lambda: bool(slack.server.calls("POST", "chat.postMessage")))
    assert slack.said() == []
    assert shop.state(Step.WAIT_FOR_START) == "awaiting_input"
    slack.token = TOKEN
    with session() as opened:
        for entry in opened.scalars(select(OutboxEntry)):
            entry.due_at = entry.created_at
    rounds.housekeeping()
    eventually(lambda: any(one.buttons() for one in slack.said()))  # the worker may have been there first
    assert len(slack.thread()) == 2


def test_the_doctor_looks_at_slack(shop: Shop, slack: FakeSlack) -> None:
    found: list[dict[str, Any]] = shop.person("max", "admin").get("/projects/shop/examination").json()
    told = {one["what"]: one["sentence"] for one in found if "messages" in one["what"]}
    assert told["shop: messages, channel"] == "Posts to #deliveries."
    assert "olga" in told["shop: messages, people"]


# Airflow's own reader leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alert_has_the_last_lines_of_the_tasks_log(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.utils.log.log_reader import TaskLogReader  # noqa: PLC0415 - Airflow takes two seconds to import

    shop.start()
    shop.set(Step.REGISTER_FEATURE, "failed")
    instance = shop.instance(Step.REGISTER_FEATURE)
    handler: Any = TaskLogReader().log_handler
    with session() as opened:
        opened.add(instance)
        path = Path(handler.local_base) / handler._render_filename(instance, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"timestamp": "2026-01-01T00:00:00Z", "level": "info", "event": f"line {n}"} for n in range(40)]
    lines.append({"timestamp": "2026-01-01T00:00:01Z", "level": "error", "event": "It broke."})
    lines[-1]["error_detail"] = [{"exc_type": "Refused", "exc_value": "no.\nAsk.", "frames": []}]  # type: ignore[assignment]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = task_logs.last_lines(settings.project("shop"), "SHOP-1", Step.REGISTER_FEATURE)
    assert found[-4:] == ["INFO line 39", "ERROR It broke.", "Refused: no.", "Ask."]
    assert len(found) == task_logs.LINES
    assert task_logs.last_lines(settings.project("shop"), "SHOP-9", Step.REGISTER_FEATURE) == ()
