"""The web app over HTTP: who may do what, what repeats change, what races lose. Nothing is ever lost or done twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from airflow.models.hitl import HITLDetail
from sqlalchemy import func, select

from feature_delivery.domain import errors as domain_errors
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import GateState, WebhookDelivery, now
from feature_delivery.domain.upkeep import ROUND_UNDER_WAY
from feature_delivery.ports.runs import RunRef
from feature_delivery.services.control import deadlines
from feature_delivery.web import errors, rounds, transaction
from feature_delivery.web.app import create_app
from feature_delivery.web.transaction import begin, session
from tests.support.web_app import TOKEN, Shop, eventually

ANSWER = {"gate": "start", "kind": "approve"}


def sentence(answer: Any, code: int, error: str) -> str:
    assert answer.status_code == code, answer.text
    body = answer.json()
    assert set(body) == {"error", "message"}
    assert body["error"] == error
    assert body["message"].endswith(".")
    return str(body["message"])


def at_the_start_gate(shop: Shop) -> None:
    shop.start()
    shop.register()
    assert not shop.gate(Step.WAIT_FOR_START)["outcome"]


def questions() -> int:
    with session() as opened:
        return int(opened.scalar(select(func.count()).select_from(HITLDetail)) or 0)


def answered(chosen: list[str], who: dict[str, str]) -> None:
    """Keep an answer as Airflow's own page does."""
    with session() as opened:
        asked = opened.scalars(select(HITLDetail)).one()
        asked.chosen_options, asked.responded_by, asked.params_input = chosen, who, {}
        asked.responded_at = now()


def test_the_task_token_opens_tasks_and_nothing_else(shop: Shop) -> None:
    shop.start()
    shop.set(Step.REGISTER_FEATURE, "running")
    body = shop.claim(Step.REGISTER_FEATURE)
    for token in ("", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", f"Bearer {TOKEN[:-1]}"):
        answer = shop.nobody.post("/tasks/permits", json=body, headers={"Authorization": token} if token else {})
        assert "token" in sentence(answer, 401, "Unauthorized")
    sentence(shop.person("max").post("/tasks/permits", json=body), 401, "Unauthorized")
    assert shop.tasks.get("/projects/shop/features").status_code in {401, 403}
    assert shop.tasks.post("/tasks/permits", json=body).status_code == 200


def test_the_token_counts_only_with_a_task_that_is_running(shop: Shop) -> None:
    shop.start()
    body = shop.claim(Step.REGISTER_FEATURE)
    assert "not running" in sentence(shop.tasks.post("/tasks/permits", json=body), 403, "Refused")
    assert "not running" in sentence(shop.tasks.post("/tasks/gates", json={"task": body}), 403, "Refused")
    answer = shop.tasks.post("/tasks/permits/1/results", json={"task": body, "result": {"kind": "done"}})
    sentence(answer, 403, "Refused")
    key = {"task_instance": body["task_instance"], "key": "SHOP-1"}
    sentence(shop.tasks.post("/tasks/tracker/shop/issues/find", json=key), 403, "Refused")
    sentence(shop.tasks.post("/tasks/housekeeping", json={"task_instance": "x"}), 403, "Refused")
    sentence(shop.tasks.post("/tasks/reaper/shop/plan", json={**key, "found": []}), 403, "Refused")
    shop.set(Step.REGISTER_FEATURE, "running")
    sentence(shop.tasks.post("/tasks/permits", json={**body, "try_number": 2}), 403, "Refused")


def test_without_a_task_token_set_nobody_passes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_TASK_TOKEN", "")
    answer = shop.nobody.post("/tasks/permits", json={}, headers={"Authorization": "Bearer"})
    assert "FEATURE_DELIVERY_TASK_TOKEN" in sentence(answer, 422, "Misconfigured")


def test_people_are_known_by_their_login_and_their_project(shop: Shop) -> None:
    body = {"key": "SHOP-1"}
    sentence(shop.nobody.post("/projects/shop/features", json=body), 401, "Unauthorized")
    sentence(shop.nobody.get("/projects"), 401, "Unauthorized")
    stranger = shop.person("mallory")
    assert "nobody of shop" in sentence(stranger.post("/projects/shop/features", json=body), 403, "Refused")
    assert "no project" in sentence(shop.person("max").get("/projects/nope"), 404, "NotFound")
    assert shop.person("max").get("/projects").json() == [{"name": "shop", "title": "The shop"}]
    assert shop.person("max").get("/projects/shop").json()["lock"] is None


def test_a_foreign_page_cannot_make_a_browser_act(shop: Shop) -> None:
    """A form sends cookies, but no JSON: only what is declared as JSON changes anything."""
    client = shop.person("max")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.post("/projects/shop/features", content=b'{"key": "SHOP-1"}', headers={"Content-Type": kind})
        assert "JSON" in sentence(answer, 403, "Refused")
    assert client.get("/projects/shop/features").json() == []


def test_no_state_changes_by_reading(shop: Shop) -> None:
    for path, methods in create_app().openapi()["paths"].items():
        for method in methods:
            assert method in {"get", "post"}, path
    for path in ("/projects/shop/features/SHOP-1/cancel", "/projects/shop/lock/break", "/webhooks/shop"):
        assert shop.person("max").get(path).status_code == 405


def test_bad_input_is_one_sentence(shop: Shop) -> None:
    client = shop.person("max")
    post = "/projects/shop/features"
    for key in ("", "shop-1", "SHOP-0", "SHOP-1; rm -rf /", "../../etc", "SHOP-1\n", "<b>"):
        sentence(client.post(post, json={"key": key}), 403, "Refused")
    for branch in ("a b", "-x", "a..b", "$(id)", "refs/heads/../x"):
        sentence(client.post(post, json={"key": "SHOP-1", "branch": branch}), 403, "Refused")
    sentence(client.post(post, json={"key": "SHOP-1", "commit": "f" * 40}), 404, "NotFound")
    sentence(client.post(post, json={"key": "SHOP-1", "commit": "HEAD"}), 403, "Refused")
    assert "key" in sentence(client.post(post, json={}), 403, "Refused")
    sentence(client.post(post, content=b"{", headers={"Content-Type": "application/json"}), 422, "Invalid")
    sentence(client.post(post, json={"key": "SHOP-1", "title": "x" * 301}), 422, "Invalid")
    sentence(client.get("/projects/shop/features/SHOP-7"), 404, "NotFound")
    sentence(client.get("/projects/shop/commits/" + "f" * 40), 404, "NotFound")
    sentence(client.get("/nothing/here"), 404, "NotFound")
    assert client.get(post).json() == []


def test_a_list_is_read_on_where_it_ended(shop: Shop) -> None:
    client, at = shop.person("max"), "/projects/shop/features"
    for number in range(1, 4):
        assert client.post(at, json={"key": f"SHOP-{number}"}).status_code == 201
    first = [one["run_id"] for one in client.get(at, params={"limit": 2}).json()]
    rest = [one["run_id"] for one in client.get(at, params={"limit": 2, "before": first[-1]}).json()]
    assert (first, rest) == (["SHOP-3", "SHOP-2"], ["SHOP-1"])
    client.post(f"{at}/SHOP-2/cancel", json={"reason": "Not now."})
    assert [one["key"] for one in client.get(at, params={"state": ["cancelled", "shipped"]}).json()] == ["SHOP-2"]
    assert "SHOP-9" in sentence(client.get(at, params={"before": "SHOP-9"}), 404, "NotFound")
    sentence(client.get(at, params={"state": "gone"}), 422, "Invalid")


def test_a_nul_is_bad_input_and_no_error_of_ours(shop: Shop) -> None:
    client, at = shop.person("max"), "/projects/shop/features"
    assert client.post(at, json={"key": "SHOP-1"}).status_code == 201
    assert "NUL" in sentence(client.post(at, json={"key": "SHOP-2", "title": "a\0b"}), 403, "Refused")
    said = {"gate": "intake.wait_for_start", "kind": "approve", "comment": "a\0b"}
    sentence(client.post(f"{at}/SHOP-1/decisions", json=said), 403, "Refused")  # by its rules: max is no developer
    assert [client.get(f"/board{at}").status_code for at in ("/?q=a%00b", "/shop/SHOP-1?run=%00")] == [200, 404]


def test_two_starts_at_once_start_one_delivery(shop: Shop) -> None:
    clients = [shop.person(name) for name in ("max", "dora", "rita", "tess") * 4]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda c: c.post("/projects/shop/features", json={"key": "SHOP-1"}), clients))
    assert {answer.status_code for answer in answers} == {201}
    assert [answer.json()["started"] for answer in answers].count(True) == 1
    assert {answer.json()["run_id"] for answer in answers} == {"SHOP-1"}


def test_the_same_result_again_changes_nothing_and_another_is_refused(shop: Shop) -> None:
    shop.start()
    work = shop.permit(Step.REGISTER_FEATURE)
    result = {"kind": "registered", "title": "t", "description": "", "issue_url": "u", "taken": False}
    body = {"task": shop.claim(Step.REGISTER_FEATURE), "result": result}
    path = f"/tasks/permits/{work['permit']}/results"
    assert [shop.tasks.post(path, json=body).json() for _ in range(3)] == [{"problem": ""}] * 3
    other = {**body, "result": {**result, "title": "another"}}
    sentence(shop.tasks.post(path, json=other), 403, "Refused")
    sentence(shop.tasks.post("/tasks/permits/99/results", json=body), 404, "NotFound")
    bad = {"kind": "moved", "commit": "main; rm -rf /"}
    sentence(shop.tasks.post(path, json={**body, "result": bad}), 403, "Refused")
    sentence(shop.tasks.post(path, json={**body, "result": {"kind": "nonsense"}}), 422, "Invalid")


def test_a_decision_ends_the_parked_gate_at_once(shop: Shop) -> None:
    at_the_start_gate(shop)
    found = shop.feature()
    assert found["gate"]["step"] == "intake.wait_for_start"
    assert shop.person("tess").post("/projects/shop/features/SHOP-1/decisions", json=ANSWER).status_code == 403
    assert shop.state(Step.WAIT_FOR_START) == "awaiting_input"
    answer = shop.person("dora").post("/projects/shop/features/SHOP-1/decisions", json=ANSWER)
    assert answer.json() == {"accepted": True, "reason": ""}
    assert shop.state(Step.WAIT_FOR_START) == "success"
    found = shop.feature()
    assert [(d["who"], d["accepted"]) for d in found["decisions"]] == [("tess", False), ("dora", True)]
    assert found["gate"] is None
    assert next(s for s in found["steps"] if s["task"] == "intake.wait_for_start")["state"] == "done"


def test_a_decision_while_the_task_is_on_its_way_to_parking_is_not_lost(shop: Shop) -> None:
    """The finisher ends the gate as soon as the task has parked."""
    shop.start()
    shop.register()
    shop.set(Step.WAIT_FOR_START, "running")
    asked = shop.tasks.post("/tasks/gates", json={"task": shop.claim(Step.WAIT_FOR_START), "event": None})
    assert asked.json()["outcome"] == ""
    assert shop.person("dora").post("/projects/shop/features/SHOP-1/decisions", json=ANSWER).status_code == 200
    assert shop.state(Step.WAIT_FOR_START) == "running"
    shop.set(Step.WAIT_FOR_START, "awaiting_input")
    eventually(lambda: shop.state(Step.WAIT_FOR_START) == "success")


def test_who_shows_questions_is_woken_when_there_is_one_to_see(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Woken before the commit it would see none, and sleep until housekeeping a minute later."""
    seen: list[list[Step]] = []

    def look(name: str) -> None:
        if name == "asker":
            with begin() as unit:
                seen.append([gate.step for gate in unit.books.open_gates() if gate.requested_at is None])

    monkeypatch.setattr(transaction, "wake", look)
    at_the_start_gate(shop)
    assert [Step.WAIT_FOR_START] in seen


def test_a_deadline_that_lets_another_gate_end_wakes_who_ends_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Production that a verdict by deadline frees is the next one's at once, not a minute later."""
    from feature_delivery.web import workers  # noqa: PLC0415

    woken: list[str] = []
    at_the_start_gate(shop)
    workers.stop_all()
    monkeypatch.setattr(transaction, "wake", woken.append)
    with begin() as unit:
        gate = unit.books.open_gates()[0]
        gate.deadline = now() - timedelta(seconds=1)

    def expire(unit: transaction.WebUnit, _project: object, _run_id: str) -> bool:
        found = unit.books.open_gates()[0]
        found.state, found.outcome, found.resolved_at, found.ended = GateState.RESOLVED, "turn", now(), False
        return True

    monkeypatch.setattr(deadlines, "expire", expire)
    assert rounds.expire_deadlines() == 1
    assert woken.count("finisher") == 1
    assert rounds.finish_gates() == 0, "what was ended may have let another one end: it looks again"
    assert rounds.finish_gates() is None
    assert woken.count("finisher") == 1, "it does not wake itself"
    assert shop.state(Step.WAIT_FOR_START) == "success"


def test_no_wake_up_is_lost_however_asking_and_deciding_meet(shop: Shop) -> None:
    keys = [f"SHOP-{number}" for number in range(1, 13)]
    for key in keys:
        shop.start(key)
        shop.register(run_id=key)
        shop.set(Step.WAIT_FOR_START, "running", run_id=key)
    dora = shop.person("dora")

    def race(key: str) -> None:
        together = threading.Barrier(2)
        claim = {"task": shop.claim(Step.WAIT_FOR_START, run_id=key), "event": None}

        def ask() -> None:
            together.wait()
            answer = shop.tasks.post("/tasks/gates", json=claim).json()
            shop.set(Step.WAIT_FOR_START, "success" if answer["outcome"] else "awaiting_input", run_id=key)

        def decide() -> None:
            together.wait()
            assert dora.post(f"/projects/shop/features/{key}/decisions", json=ANSWER).status_code == 200

        threads = [threading.Thread(target=ask), threading.Thread(target=decide)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def done(key: str) -> bool:
        return shop.state(Step.WAIT_FOR_START, run_id=key) == "success"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, keys))
    for key in keys:
        eventually(partial(done, key))
    with begin() as unit:
        assert [unit.runs.unshelve_stranded([]), len(unit.books.gates_to_end())] == [0, 0]


def test_answers_on_airflows_own_page_count_when_the_policy_allows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PARKED_FOR", timedelta(0))
    at_the_start_gate(shop)
    eventually(lambda: rounds.ask_people() is None and questions() == 1)
    with session() as opened:
        question = opened.scalars(select(HITLDetail)).one()
        assert question.options == ["approve"]
        assert not question.assignees, "everybody may try: the policy refuses, with its own sentence"
        assert set(question.params) == {"comment"}
        assert "SHOP-1" in question.subject
        assert "dora" in (question.body or "")
    event = {"chosen_options": ["approve"], "responded_by_user": {"id": "dora", "name": "dora"}, "params_input": {}}
    answered(["approve"], {"id": "tess", "name": "tess"})
    found = shop.gate(Step.WAIT_FOR_START, event)
    assert "tess is not developer" in found["waits_for"]
    assert shop.state(Step.WAIT_FOR_START) == "awaiting_input"
    eventually(lambda: rounds.ask_people() is None and questions() == 1)
    with session() as opened:
        body = opened.scalars(select(HITLDetail)).one().body or ""
        assert "**Did not count:** tess, approve: tess is not developer" in body
    nonsense: list[tuple[list[str], dict[str, str]]] = [([], {}), (["drop tables"], {"id": "dora", "name": "dora"})]
    for chosen, who in nonsense:
        answered(chosen, who)
        assert not shop.gate(Step.WAIT_FOR_START, event)["outcome"]
        eventually(lambda: rounds.ask_people() is None and questions() == 1)
    assert not shop.gate(Step.WAIT_FOR_START, event)["outcome"], "nobody has answered, whatever the task says"
    eventually(lambda: rounds.ask_people() is None and questions() == 1)
    answered(["approve"], {"id": "7", "name": "dora"})
    found = shop.gate(Step.WAIT_FOR_START, event)
    assert found["outcome"] == "started"
    assert questions() == 0
    with begin() as unit:
        assert unit.books.gates_to_end() == []
    assert [d["way"] for d in shop.feature()["decisions"]] == ["airflow", "airflow"]


def test_a_webhook_without_the_right_signature_is_not_even_read(shop: Shop) -> None:
    wrong = {"X-Feature-Delivery-Signature": "sha256=" + "0" * 64}
    first = sentence(shop.webhook({"ref": "x"}, "1", headers=wrong), 401, "Unauthorized")
    assert first == sentence(shop.webhook({"ref": "x"}, "1", project="nope"), 401, "Unauthorized")
    sentence(shop.webhook(b"x" * (5 * 1024 * 1024 + 1), "1"), 413, "Invalid")
    sentence(shop.webhook(b"x", ""), 422, "Invalid")
    assert shop.webhook(b"\x00\xff not JSON", "1").json() == {"repeated": False}
    with session() as opened:
        assert opened.scalar(select(func.count()).select_from(WebhookDelivery)) == 1


def test_a_burst_of_webhooks_with_repeats_starts_each_feature_once(shop: Shop) -> None:
    heads = {key: shop.repository.push(f"feature/{key}-cards", key) for key in ("SHOP-1", "SHOP-2", "SHOP-3")}
    pushes: list[tuple[dict[str, Any], str]] = [
        ({"ref": f"refs/heads/feature/{key}-cards", "new": heads[key], "pusher": "dora"}, f"{key}-{number}")
        for number in range(40)
        for key in heads
    ]
    pushes += pushes[::3]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda p: shop.webhook(*p), pushes))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["repeated"] for answer in answers) == len(pushes) - 120

    def all_processed() -> bool:
        with session() as opened:
            waiting = select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.processed_at.is_(None))  # type: ignore[union-attr]
            return opened.scalar(waiting) == 0

    eventually(all_processed)
    lines = shop.person("max").get("/projects/shop/features").json()
    assert sorted(line["run_id"] for line in lines) == sorted(heads)


def test_what_webhooks_lost_reconciliation_finds(shop: Shop) -> None:
    shop.repository.push("feature/SHOP-8-old", "old work, from before us")
    assert rounds.reconcile_all() == []
    shop.repository.push("feature/SHOP-9-new", "new work")
    assert any("SHOP-9" in line for line in rounds.reconcile_all())
    assert rounds.reconcile_all() == ["SHOP-9: attempt 1 begins"]
    assert rounds.reconcile_all() == []
    lines = shop.person("max").get("/projects/shop/features").json()
    assert [line["key"] for line in lines] == ["SHOP-9"], "branches from before must not all start a delivery"


def with_code(shop: Shop) -> str:
    """A feature whose branch was found with a commit on it."""
    at_the_start_gate(shop)
    shop.person("dora").post("/projects/shop/features/SHOP-1/decisions", json=ANSWER)
    head = shop.repository.push("feature/SHOP-1-cards", "first")
    shop.perform(
        Step.CREATE_BRANCH,
        kind="branch_ready",
        branch="feature/SHOP-1-cards",
        head=head,
        production=shop.repository.main,
        created=False,
        ahead=True,
        authors=["dora@shop.example"],
    )
    return head


def test_a_newer_commit_rewinds_and_one_pushed_by_hand_to_production_freezes(shop: Shop) -> None:
    first = with_code(shop)
    assert shop.gate(Step.WAIT_FOR_CODE)["outcome"]
    shop.set(Step.DEPLOY_DEVELOPMENT, "success")
    second = shop.repository.push("feature/SHOP-1-cards", "second")
    rounds.reconcile_all()
    found = shop.feature()
    assert [(a["commit"], a["state"]) for a in found["attempts"]] == [(first, "superseded"), (second, "active")]
    assert shop.state(Step.DEPLOY_DEVELOPMENT) == "none"
    foreign = shop.repository.push("main", "hotfix by hand")
    rounds.reconcile_all()
    project = shop.person("max").get("/projects/shop").json()
    assert project["frozen_commit"] == foreign
    body = {"commit": foreign}
    assert shop.person("dora").post("/projects/shop/adopt", json=body).status_code == 403
    wrong = shop.person("olga").post("/projects/shop/adopt", json={"commit": first})
    sentence(wrong, 403, "Refused")
    adopted = shop.person("olga").post("/projects/shop/adopt", json=body)
    assert (adopted.status_code, adopted.json()["message"]) == (200, f"Production is {foreign[:10]}.")
    assert shop.person("max").get("/projects/shop").json()["production_commit"] == foreign


def test_cancelling_stops_the_run_and_says_so_outside(shop: Shop) -> None:
    with_code(shop)
    issue = {"key": "SHOP-1", "title": "Gift cards", "description": "Please"}
    assert shop.person("max").post("/projects/shop/issues", json=issue).status_code == 201
    cancel = "/projects/shop/features/SHOP-1/cancel"
    sentence(shop.person("tess").post(cancel, json={"reason": "no"}), 403, "Refused")
    assert shop.person("dora").post(cancel, json={"reason": "The client changed his mind"}).status_code == 200
    sentence(shop.person("dora").post(cancel, json={}), 403, "Refused")
    assert shop.feature()["state"] == "cancelled"
    assert shop.state(Step.PROMOTE) == "skipped"
    assert shop.state(Step.DELETE_BRANCHES) == "none"

    def told() -> bool:
        found = shop.person("max").get("/projects/shop/issues/SHOP-1").json()
        return any("changed his mind" in comment["text"] for comment in found["comments"])

    eventually(told)


def test_taking_the_issue_on_the_local_tracker_raises_the_start_flag(shop: Shop) -> None:
    shop.person("max").post("/projects/shop/issues", json={"key": "SHOP-1", "title": "Gift cards"})
    at_the_start_gate(shop)
    answer = shop.person("max").post("/projects/shop/issues/SHOP-1/assign", json={"assignee": "dora"})
    assert answer.json()["assignee"] == "dora"
    assert shop.state(Step.WAIT_FOR_START) == "success"
    sentence(shop.person("max").post("/projects/shop/issues/SHOP-5/assign", json={}), 404, "NotFound")


def test_tasks_reach_the_local_tracker(shop: Shop) -> None:
    shop.start()
    shop.set(Step.REGISTER_FEATURE, "running")
    me = {"task_instance": shop.claim(Step.REGISTER_FEATURE)["task_instance"], "key": "SHOP-1"}
    at = "/tasks/tracker/shop/issues"
    assert shop.tasks.post(f"{at}/find", json=me).json() is None
    made = shop.tasks.post(f"{at}/create", json={**me, "title": "t", "description": "d", "reporter": "max"}).json()
    assert shop.tasks.post(f"{at}/find", json=me).json() == made
    for _ in range(2):
        assert shop.tasks.post(f"{at}/comment", json={**me, "text": "hello", "marker": "m"}).json() == {}
        assert shop.tasks.post(f"{at}/move", json={**me, "state": "done"}).json() == {}
    found = shop.person("max").get("/projects/shop/issues/SHOP-1").json()
    assert (found["state"], [c["text"] for c in found["comments"]]) == ("done", ["hello"])


def test_a_review_on_the_local_host_is_a_decision(shop: Shop) -> None:
    head = with_code(shop)
    opened = shop.person("dora").post(
        "/projects/shop/requests", json={"source": "feature/SHOP-1-cards", "title": "Cards"}
    )
    assert opened.status_code == 201, opened.text
    number = opened.json()["number"]
    assert opened.json()["target"] == "preprod"
    body = {"kind": "approve", "comment": "Reads well."}
    assert shop.person("rita").post(f"/projects/shop/requests/{number}/reviews", json=body).status_code == 201
    assert shop.person("dora").post(f"/projects/shop/requests/{number}/reviews", json=body).status_code == 201
    found = shop.feature()
    assert found["request"]["number"] == number
    assert [(d["who"], d["accepted"], d["commit"]) for d in found["decisions"] if d["gate"].startswith("review")] == [
        ("rita", True, head),
        ("dora", False, head),
    ]


def test_housekeeping_does_what_died_with_a_process(shop: Shop) -> None:
    """Gates left un-ended, runs left on the shelf, gates off the shelf: as if the API server had been killed."""
    from feature_delivery.web import workers  # noqa: PLC0415

    at_the_start_gate(shop)
    workers.stop_all()
    shop.set(Step.WAIT_FOR_START, "running")
    shop.person("dora").post("/projects/shop/features/SHOP-1/decisions", json=ANSWER)
    shop.set(Step.WAIT_FOR_START, "awaiting_input")
    assert shop.state(Step.WAIT_FOR_START) == "awaiting_input"
    me = {"task_instance": shop.housekeeper()}
    counts = shop.tasks.post("/tasks/housekeeping", json=me).json()
    assert counts["gates_finished"] == 1
    assert shop.state(Step.WAIT_FOR_START) == "success"
    eventually(lambda: not any(shop.tasks.post("/tasks/housekeeping", json=me).json().values()))


def test_rounds_of_housekeeping_do_not_pile_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that has waited long enough asks again while the round that it asked for still waits for a slow host."""
    me, slow, goes_on = {"task_instance": shop.housekeeper()}, threading.Event(), threading.Event()

    def look(*_: Any, **__: Any) -> list[str]:
        slow.set()
        assert goes_on.wait(60)
        raise ZeroDivisionError

    monkeypatch.setattr("feature_delivery.services.control.reconcile.reconcile", look)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shop.tasks.post, "/tasks/housekeeping", json=me)
        assert slow.wait(60)
        try:
            second = shop.tasks.post("/tasks/housekeeping", json=me)
            assert (second.status_code, second.json()) == (200, {ROUND_UNDER_WAY: 1})
        finally:
            goes_on.set()
    assert first.result().json()["reconciled"] == 1, "what nobody has thought of is told of, and ends no round"
    monkeypatch.undo()
    assert ROUND_UNDER_WAY not in shop.tasks.post("/tasks/housekeeping", json=me).json()


def test_a_gate_that_waits_off_the_shelf_is_put_back(shop: Shop) -> None:
    at_the_start_gate(shop)
    with begin() as unit:
        feature = unit.books.features()[0]
        run = RunRef(feature.project, feature.run_id)
        unit.runs.unshelve(run)
    assert rounds.tidy_shelf() == 1
    assert rounds.tidy_shelf() == 0
    with begin() as unit:
        assert not unit.runs.waits_unshelved(run)


def test_a_gate_that_the_ledger_does_not_wait_at_is_found_after_hands(shop: Shop) -> None:
    at_the_start_gate(shop)
    shop.set(Step.WAIT_FOR_START, "success")
    shop.set(Step.WAIT_FOR_REVIEW, "awaiting_input")
    assert rounds.works()["shelf"]() is None
    with begin() as unit:
        gate = unit.books.open_gate(unit.books.features()[0])
        assert gate is not None
        assert gate.step is Step.WAIT_FOR_REVIEW
    assert rounds.tidy_shelf() == 0


def test_the_health_is_open_and_shows_the_workers(shop: Shop) -> None:
    found = shop.nobody.get("/health").json()
    assert found["workers"] == dict.fromkeys(
        ("finisher", "asker", "webhooks", "outbox", "shelf", "counts", "freezes", "board"), True
    )
    assert found["instance"]


def test_every_error_has_its_code_and_the_unexpected_its_number(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def raising(error: Exception) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        return fail

    expected = {kind.__name__: code for kind, code in errors.CODES.items()}
    assert set(expected) == {"Refused", "Conflict", "NotFound", "Misconfigured", "Unavailable", "RateLimited"}
    for name, code in expected.items():
        monkeypatch.setattr("feature_delivery.web.feature_routes.run_of", raising(getattr(domain_errors, name)("So.")))
        shop_start = shop.person("max")
        shop_start.post("/projects/shop/features", json={"key": "SHOP-1"})
        assert sentence(shop_start.get("/projects/shop/features/SHOP-1"), code, name) == "So."
    monkeypatch.setattr("feature_delivery.web.feature_routes.run_of", raising(ZeroDivisionError("secret detail")))
    text = sentence(shop.person("max").get("/projects/shop/features/SHOP-1"), 500, "Unexpected")
    assert "secret" not in text
    assert text.rstrip(".").split()[-1] in caplog.text


def test_the_description_is_complete() -> None:
    described = create_app().openapi()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation.get("description"), name
            codes = set(operation["responses"])
            assert codes & {"200", "201", "202"}, name
            assert {"500", "503"} <= codes, name
            if path != "/health":
                assert {"401", "422"} <= codes, name
            if "{project}" in path and path != "/webhooks/{project}":
                assert {"403", "404", "409"} <= codes, name
            for code, answer in operation["responses"].items():
                if (path, code) == ("/metrics", "200"):
                    continue  # Prometheus' own text
                schema = answer["content"]["application/json"]["schema"]
                assert schema, f"{name} {code}"
                if code >= "400":
                    assert schema == {"$ref": "#/components/schemas/Problem"}, f"{name} {code}"
