"""What somebody does who may do anything in Airflow's pages and REST API, and nothing in the project."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow import settings as airflow_settings
from airflow.api_fastapi.execution_api.app import _jwt_generator, create_task_execution_api_app
from airflow.models.hitl import HITLDetail
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from feature_delivery.adapters.platforms.local import fence
from feature_delivery.domain.people import SIGN_OFFS
from feature_delivery.domain.process import TEARDOWNS, Step
from feature_delivery.domain.proofs import HEADER
from feature_delivery.domain.records import now
from feature_delivery.web import logins, plugin, rounds
from feature_delivery.web.board import csrf
from feature_delivery.web.monitoring import LedgerCollector
from feature_delivery.web.transaction import begin, session
from tests import shops
from tests.attacks.hostile import attack
from tests.local_bench import PROJECT, Bench, reference
from tests.support.web_app import DAG, PROOF, TOKEN, Shop, serve

PREFIX = "/feature-delivery"
_numbers = itertools.count(1)


@pytest.fixture
def mallory(airflow: Shop) -> httpx.Client:
    """Airflow's Op: may change every DAG, Variable, Connection and pool; nobody in the project."""
    return airflow.person("mallory", "op")


@pytest.fixture
def key(airflow: Shop) -> str:
    """A feature that waits at its first gate."""
    found = f"SHOP-{next(_numbers)}"
    body = {"key": found, "title": "Gift cards"}
    assert airflow.person("max").post(f"{PREFIX}/projects/shop/features", json=body).status_code == 201
    airflow.register(run_id=found)
    assert not airflow.gate(Step.WAIT_FOR_START, run_id=found)["outcome"]
    return found


def feature(airflow: Shop, key: str) -> dict[str, Any]:
    answer = airflow.person("max").get(f"{PREFIX}/projects/shop/features/{key}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def permit(airflow: Shop, step: Step, key: str) -> httpx.Response:
    airflow.set(step, "running", run_id=key)
    claim = {**airflow.claim(step, run_id=key), "try_number": 1}
    answer = airflow.tasks.post("/tasks/permits", json=claim)
    airflow.set(step, None, run_id=key)
    return answer


def task(key: str, step: Step) -> str:
    return f"/api/v2/dags/{DAG}/dagRuns/{key}/taskInstances/{step.value}"


def test_tasks_marked_successful_let_nothing_through(airflow: Shop, mallory: httpx.Client, key: str) -> None:
    for step in (*SIGN_OFFS, Step.TEST_PREPROD, Step.WAIT_FOR_TURN, Step.BUILD_CANDIDATE):
        marked = mallory.patch(task(key, step), json={"new_state": "success"})
        assert marked.status_code == 200, marked.text
    refused = permit(airflow, Step.PROMOTE, key)
    assert refused.status_code == 403
    assert "has no permit" in refused.json()["message"]
    found = feature(airflow, key)
    assert (found["decisions"], found["promotions"]) == ([], [])


def test_a_run_marked_successful_or_cleared_ships_nothing(airflow: Shop, mallory: httpx.Client, key: str) -> None:
    path = f"/api/v2/dags/{DAG}/dagRuns/{key}"
    assert mallory.patch(path, json={"state": "success", "note": "shipped"}).status_code == 200
    assert mallory.post(f"{path}/clear", json={"dry_run": False, "only_failed": False}).status_code == 200
    found = feature(airflow, key)
    assert (found["state"], found["promotions"]) == ("active", [])
    assert permit(airflow, Step.PROMOTE, key).status_code == 403


def test_a_deleted_run_comes_back_and_gives_nothing_up(airflow: Shop, mallory: httpx.Client, key: str) -> None:
    path = f"/api/v2/dags/{DAG}/dagRuns/{key}"
    for step in TEARDOWNS:  # while one is left to run, Airflow itself does not end the run
        assert mallory.patch(task(key, step), json={"new_state": "success"}).status_code == 200
    assert mallory.patch(path, json={"state": "failed"}).status_code == 200
    assert mallory.delete(path).status_code == 204
    assert rounds.restore_runs() == 1
    assert rounds.restore_runs() == 0
    assert mallory.get(path).json()["state"] == "queued"
    airflow.register(run_id=key)
    assert not airflow.gate(Step.WAIT_FOR_START, run_id=key)["outcome"], "it asks again"
    found = feature(airflow, key)
    assert (found["state"], found["gate"]["step"]) == ("active", "intake.wait_for_start")
    assert any("was deleted in Airflow" in event["text"] for event in found["events"])


def test_a_run_that_was_ended_stays_ended_and_people_are_told_once_what_they_may_do(
    airflow: Shop, mallory: httpx.Client, key: str
) -> None:
    rounds.tell_of_ended_runs()  # of those of other tests
    path, gate = f"/api/v2/dags/{DAG}/dagRuns/{key}", Step.WAIT_FOR_START
    for step in TEARDOWNS:
        assert mallory.patch(task(key, step), json={"new_state": "success"}).status_code == 200
    assert mallory.patch(path, json={"state": "failed"}).json()["state"] == "failed"
    assert [rounds.tell_of_ended_runs() for _ in range(3)] == [1, 0, 0]
    found = feature(airflow, key)
    assert found["gate"]["blocked"].startswith(
        f"Its run was ended in Airflow (failed), and nothing is left to go on from {gate}"
    )
    assert f"feature-delivery cancel {key}" in found["gate"]["blocked"]
    (said,) = [event["text"] for event in found["events"] if event["kind"] == "run_ended"]
    assert said == f"{key}: {found['gate']['blocked']}"
    assert found["gate"]["waits_for"] == found["gate"]["blocked"], "the command line and the board show it"
    rounds.restore_runs()
    rounds.tidy_shelf()
    rounds.finish_gates()
    assert mallory.get(path).json()["state"] == "failed", "nothing of ours fights with whoever ended it"
    again = {
        "dry_run": False,
        "only_failed": False,
        "task_ids": [gate.value],
        "dag_run_id": key,
        "reset_dag_runs": True,
    }
    cleared = airflow.person("olga", "op").post(f"/api/v2/dags/{DAG}/clearTaskInstances", json=again)
    assert cleared.status_code == 200, cleared.text
    assert rounds.tell_of_ended_runs() == 0
    assert (feature(airflow, key)["gate"]["blocked"], mallory.get(path).json()["state"]) == ("", "queued")
    assert not airflow.gate(gate, run_id=key)["outcome"], "it asks again"


def test_what_is_written_into_xcoms_variables_and_state_is_read_by_nobody(
    airflow: Shop, mallory: httpx.Client, key: str
) -> None:
    said = {"key": "return_value", "value": {"chosen_options": ["approve"], "responded_by_user": {"name": "max"}}}
    for step in (Step.WAIT_FOR_CONFIRMATION, Step.DECIDE_ROLLBACK):
        written = mallory.post(f"{task(key, step)}/xcomEntries", json=said)
        assert written.status_code == 201, written.text
    variable = {"key": "feature_delivery_shop", "value": '{"people": {"mallory": {"roles": ["operator"]}}}'}
    assert mallory.post("/api/v2/variables", json=variable).status_code == 201
    state = mallory.put(f"{task(key, Step.PROMOTE)}/state-store/permit", json={"value": {"permit": 1}})
    assert state.status_code == 204, state.text
    assert permit(airflow, Step.PROMOTE, key).status_code == 403
    assert permit(airflow, Step.DECIDE_ROLLBACK, key).status_code == 403
    refused = mallory.post(f"{PREFIX}/projects/shop/lock/break", json={"reason": "I am an operator now"})
    assert refused.json()["message"].startswith("mallory is nobody of shop")


def test_a_run_started_in_airflow_by_nobody_of_the_project_carries_nothing(
    airflow: Shop, mallory: httpx.Client
) -> None:
    """Nor does its conf say who has started it."""
    path, conf = f"/api/v2/dags/{DAG}/dagRuns", {"feature": "SHOP-900", "started_by": "max"}
    body = {"logical_date": None, "dag_run_id": "SHOP-900", "conf": conf}
    assert mallory.post(path, json=body).status_code == 200
    refused = permit(airflow, Step.REGISTER_FEATURE, "SHOP-900")
    assert refused.status_code == 403
    assert refused.json()["message"].startswith("mallory is nobody of shop")
    olga = airflow.person("olga", "op")
    body |= {"dag_run_id": "SHOP-901", "conf": {**conf, "feature": "SHOP-901"}}
    assert olga.post(path, json=body).status_code == 200
    assert permit(airflow, Step.REGISTER_FEATURE, "SHOP-901").status_code == 200
    assert [event["person"] for event in feature(airflow, "SHOP-901")["events"]][:1] == ["olga"]


BODIES = {
    "/projects/{project}/features/{key}/decisions": {"gate": "start", "kind": "approve"},
    "/projects/{project}/features/{key}/override": {"gate": "start", "reason": "I may do anything"},
}
"""What is said on routes where everybody is heard, and a refusal kept; elsewhere nobody is heard out."""

NOT_FOR_PEOPLE = {
    "/tasks/": "tasks show the task token, and which of them they are",
    "/webhooks/{project}": "hosts sign what they tell",
    "/slack/interactions": "Slack signs what it tells",
}


def changing(app: Any, below: str = "") -> Iterator[str]:
    """The paths of all routes that change something, in the apps that are mounted, too."""
    for route in app.routes:
        match route:
            case Mount(app=StaticFiles()):
                continue
            case Mount(app=inner):
                yield from changing(getattr(inner, "_app", inner), below + route.path)
            case Route(methods=methods):
                if set(methods or ()) - {"GET", "HEAD", "OPTIONS"}:
                    assert methods == {"POST"}, f"{route.path}: this test only knows how to POST"
                    yield below + route.path
            case _:
                pytest.fail(f"{route} is neither a route nor a mounted app: say here how to try it")


def test_an_op_of_airflow_who_is_nobody_in_the_project_decides_and_changes_nothing(
    airflow: Shop, mallory: httpx.Client, key: str
) -> None:
    """Every route that there is, but those that are no people's: a new one is tried, too."""
    said = {"gate": "start", "kind": "approve", "reason": "I may do anything", "token": csrf.token("mallory")}
    here = {"Origin": airflow.address, "Sec-Fetch-Site": "same-origin"}
    filled = {"project": "shop", "key": key, "number": "1", "delivery": "1"}
    tried, left_out, refused = dict[str, tuple[int, str]](), set[str](), dict[str, int]()
    for path in changing(plugin.apps()[0]["app"]):
        address = PREFIX + path.format_map({**filled, "permit_id": "1"})
        if why := next((one for one in NOT_FOR_PEOPLE if path == one or (one[-1] == "/" and path.startswith(one))), ""):
            left_out.add(why)
            refused[path] = mallory.post(address, json={}).status_code
        elif path.startswith("/board/"):
            answer = mallory.post(address, data=said, headers=here)
            tried[path] = (answer.status_code, answer.text)
        else:
            answer = mallory.post(address, json=BODIES.get(path, {}))
            tried[path] = (answer.status_code, answer.text)
    assert len(tried) >= 18
    assert left_out == set(NOT_FOR_PEOPLE)
    assert {path: code for path, code in refused.items() if code != 401} == {}, NOT_FOR_PEOPLE
    wrong = {
        path: answer for path, answer in tried.items() if answer[0] not in {403, 409} or "nobody of" not in answer[1]
    }
    assert wrong == {}, "name what such a route wants in BODIES, and let it ask for a person of the project"
    found = feature(airflow, key)
    assert (found["state"], found["gate"]["step"]) == ("active", "intake.wait_for_start")
    assert [d["accepted"] for d in found["decisions"]] == [False] * 4, "what was tried is kept"


SEARCH = """
import json, os
needles = {name: word[::-1] for name, word in json.loads(TURNED).items()}  # else it would find itself
found, read = [], 0
def look(where, body):
    found.extend((name, where) for name, word in needles.items() if word in body)
look("environment", str(dict(os.environ)))
data = os.environ["DATA_DIR"]
open(data + "/planted", "w").write(needles["planted"])
def files():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        yield f"/proc/{pid}/cmdline"
        yield f"/proc/{pid}/environ"
    for top in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/var", *above):
        for folder, _, names in os.walk(top):
            yield from (os.path.join(folder, name) for name in names)
above = [os.environ["HOME"], data, os.environ["TMPDIR"], os.environ["VIRTUAL_ENV"], os.getcwd()]
for _ in range(4): above.append(os.path.dirname(above[-1]))
for path in dict.fromkeys(files()):
    try:
        if os.path.isfile(path) and os.path.getsize(path) < 1_000_000:
            look(path, open(path, errors="replace").read())
            read += 1
    except OSError:
        continue
print(json.dumps({"found": sorted(set(found)), "read": read}))
"""
KNOCK = """
import urllib.error, urllib.request
def knock(path, body, headers):
    headers = {**headers, "Content-Type": "application/json"}
    asked = urllib.request.Request(door + path, json.dumps(body).encode(), headers)
    try: return urllib.request.urlopen(asked, timeout=20).status
    except urllib.error.HTTPError as error: return error.code
answers = [[path, knock(path, body, headers)] for path in paths for headers in shown]
print(json.dumps({"knocked": len(answers), "open": [one for one in answers if one[1] != 401][:10]}))
"""


@pytest.mark.skipif(fence.version() < 1, reason="This kernel has no Landlock: nothing fences the code of a branch in.")
def test_a_branch_finds_the_ledgers_address_nowhere_and_its_door_wants_a_token(
    airflow: Shop, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a worker knows is there, in variables and in the instance's files; the network is open to a branch.

    It is given what anybody can read in Airflow's pages: the ids of a task that runs. It may guess the port.
    """
    address = airflow.address + PREFIX
    database = airflow_settings.engine.url.render_as_string(hide_password=False)
    needles = {"the door": address, "the ledger": database, "the token": TOKEN, "planted": "here-it-is"}
    home = tmp_path / "instance"
    home.mkdir()
    (home / "secrets.json").write_text(json.dumps(needles))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", database)
    monkeypatch.setenv("AIRFLOW_CONN_FEATURE_DELIVERY", json.dumps({"host": address, "password": TOKEN}))
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(home))
    airflow.set(Step.WAIT_FOR_START, "running", run_id=key)
    claim = airflow.claim(Step.WAIT_FOR_START, run_id=key)
    filled = {"project": "shop", "permit_id": "1"}
    paths = [path.format_map(filled) for path in changing(plugin.apps()[0]["app"]) if path.startswith("/tasks/")]
    shown = [
        {},
        *({"Authorization": said, HEADER: "guessed"} for said in ("Bearer guessed", "Bearer", "Basic Z3Vlc3M6")),
    ]
    given = {"paths": paths, "shown": shown, "body": {**claim, "task": claim, "event": None}}
    script = f"TURNED = {json.dumps({name: word[::-1] for name, word in needles.items()})!r}\n{SEARCH}"
    script += f"door = {address[::-1]!r}[::-1]\nglobals().update(json.loads({json.dumps(given)!r}))\n{KNOCK}"
    bench = Bench(home / "environments")
    bench.platform.provision(reference())
    try:
        bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
        report, said = attack(bench, shops.release("one"), script)
    finally:
        bench.platform.stop_all(PROJECT)
    assert report.problem == "", said
    searched, knocked = map(json.loads, said.splitlines())
    assert searched["found"] == [["planted", str(bench.directory() / "data" / "planted")]]
    assert searched["read"] > 20, "it has searched"
    assert knocked == {"knocked": 4 * len(paths), "open": []}, "every door of the tasks' asks for the token"
    assert len(paths) > 10
    assert feature(airflow, key)["gate"]["step"] == Step.WAIT_FOR_START
    assert not airflow.gate(Step.WAIT_FOR_START, run_id=key)["outcome"], "who has it is let in, with the very ids"


def test_a_viewer_of_airflow_reads_and_no_more(airflow: Shop, key: str) -> None:
    viewer = airflow.person("vera", "viewer")
    assert viewer.get(f"{PREFIX}/projects/shop/features/{key}").status_code == 200
    for method, path, body in (
        ("PATCH", task(key, Step.WAIT_FOR_START), {"new_state": "success"}),
        ("POST", f"/api/v2/dags/{DAG}/dagRuns", {"logical_date": None, "conf": {"feature": "SHOP-902"}}),
        ("POST", f"{PREFIX}/projects/shop/features/{key}/cancel", {"reason": "x"}),
    ):
        assert viewer.request(method, path, json=body).status_code == 403, path


def test_an_answer_counts_by_airflows_record_of_who_gave_it_not_by_what_a_task_says(
    airflow: Shop, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the task token and the id of a running gate's task can speak for nobody."""
    monkeypatch.setattr(rounds, "PARKED_FOR", timedelta(seconds=-60))
    rounds.ask_people()
    forged = {"chosen_options": ["approve"], "params_input": {}, "responded_by_user": {"id": "dora", "name": "dora"}}
    answer = airflow.gate(Step.WAIT_FOR_START, forged, run_id=key)
    assert (answer["outcome"], feature(airflow, key)["decisions"]) == ("", [])
    rounds.ask_people()
    with session() as opened:
        asked = opened.get(HITLDetail, airflow.instance(Step.WAIT_FOR_START, run_id=key).id)
        assert asked is not None
        asked.chosen_options, asked.params_input, asked.responded_at = ["approve"], {}, now()
        asked.responded_by = {"id": "tess", "name": "tess"}
    answer = airflow.gate(Step.WAIT_FOR_START, forged, run_id=key)
    assert answer["outcome"] == ""
    assert [(d["who"], d["accepted"]) for d in feature(airflow, key)["decisions"]] == [("tess", False)]


def test_the_task_token_opens_nothing_without_the_very_task_that_runs(airflow: Shop, key: str) -> None:
    """Stolen, it reads nothing, decides nothing, and speaks for no other step, run or project than a running one's."""
    for path in ("/projects", "/projects/shop/features", "/projects/shop/audit", "/board/", "/metrics"):
        assert airflow.tasks.get(path, follow_redirects=False).status_code in {303, 401, 403}, path
    said = {"gate": "start", "kind": "approve"}
    assert airflow.tasks.post(f"/projects/shop/features/{key}/decisions", json=said).status_code in {401, 403}
    airflow.set(Step.WAIT_FOR_START, "running", run_id=key)
    running = airflow.claim(Step.WAIT_FOR_START, run_id=key)
    for changed in (
        {"step": Step.PROMOTE.value},
        {"run_id": "SHOP-999"},
        {"try_number": 2},
        {"project": "stall"},
        {"task_instance": "00000000-0000-0000-0000-000000000000"},
    ):
        assert airflow.tasks.post("/tasks/permits", json={**running, **changed}).status_code in {403, 404}, changed
    airflow.set(Step.WAIT_FOR_START, "awaiting_input", run_id=key)


def test_the_token_and_the_id_of_a_running_task_are_not_enough_to_speak_for_it(
    airflow: Shop, mallory: httpx.Client, key: str
) -> None:
    """A task of another project can read both; what only the task itself knows Airflow shows to nobody."""
    airflow.set(Step.PROMOTE, "running", run_id=key)
    claim = airflow.claim(Step.PROMOTE, run_id=key)
    shown = mallory.get(task(key, Step.PROMOTE)).json()
    assert shown["id"] == claim["task_instance"], "the id is no secret"
    seal = shown["rendered_map_index"]
    assert seal
    assert mallory.patch(task(key, Step.PROMOTE), json={"rendered_map_index": "mine"}).status_code == 422
    body = {"task": claim, "result": {"kind": "moved", "commit": "f" * 40}}
    me = {"task_instance": claim["task_instance"]}
    for proof in ("", seal, "made-up", PROOF[::-1]):
        headers = {HEADER: proof}
        for path, said in (
            ("/tasks/permits/1/results", body),
            ("/tasks/tracker/shop/issues/find", {**me, "key": key}),
            ("/tasks/marks/shop/contested", {**me, "found": "mine"}),
        ):
            answer = airflow.tasks.post(path, json=said, headers=headers)
            assert answer.status_code == (403 if proof else 503), (path, proof, answer.text)
    found = feature(airflow, key)
    assert (found["state"], found["promotions"]) == ("active", [])
    airflow.set(Step.PROMOTE, None, run_id=key)


def test_airflow_writes_the_seal_of_a_task_for_nobody_but_its_own_supervisor(
    airflow: Shop, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the token that Airflow made for that very try: this is what the proof stands on."""
    mine, other = (airflow.instance(step, run_id=key).id for step in (Step.PROMOTE, Step.REGISTER_FEATURE))
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
    app = create_task_execution_api_app()
    with serve(app) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as api:
        token = _jwt_generator().generate(extras={"sub": str(mine), "scope": "execution"})
        headers = {"Authorization": f"Bearer {token}"}

        def put(which: object, headers: dict[str, str]) -> int:
            path = f"/task-instances/{which}/rendered-map-index"
            return api.patch(path, json="seal-x", headers=headers).status_code

        assert put(other, headers) == 403
        assert put(mine, {"Authorization": f"Bearer {TOKEN}"}) == 403
        assert put(mine, {}) == 401
        before = airflow.instance(Step.PROMOTE, run_id=key)
        assert put(mine, headers) == 204
        after = airflow.instance(Step.PROMOTE, run_id=key)
    assert (before.rendered_map_index, after.rendered_map_index) == (None, "seal-x")


def test_a_task_of_another_dag_or_project_gets_nothing_done_with_the_token(airflow: Shop, key: str) -> None:
    """Every DAG of an Airflow can read the Connection with the token."""
    folder = airflow.repository.bare.parent / "projects"
    other = (folder / "shop.yaml").read_text().replace("name: shop", "name: stall")
    (folder / "stall.yaml").write_text(other)
    airflow.set(Step.REGISTER_FEATURE, "running", run_id=key)
    mine = {"task_instance": airflow.claim(Step.REGISTER_FEATURE, run_id=key)["task_instance"]}
    try:
        for path, body in (
            ("/tasks/tracker/stall/issues/find", {"key": "STALL-1"}),
            ("/tasks/tracker/stall/issues/create", {"key": "STALL-1", "title": "x"}),
            ("/tasks/reaper/stall/plan", {"found": []}),
            ("/tasks/reaper/shop/plan", {"found": []}),
            ("/tasks/reaper/shop/reaped", {"name": "production", "generation": 1}),
            ("/tasks/housekeeping", {}),
        ):
            assert airflow.tasks.post(path, json={**mine, **body}).status_code == 403, path
    finally:
        (folder / "stall.yaml").unlink()
        airflow.set(Step.REGISTER_FEATURE, "success", run_id=key)


def test_a_token_of_airflow_that_was_signed_by_nobody_lets_nobody_in(airflow: Shop) -> None:
    for header in (
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYXgiLCJyb2xlIjoiYWRtaW4ifQ.",
        f"Bearer {TOKEN}",
        "Basic bWF4",
    ):
        answer = airflow.nobody.get(f"{PREFIX}/projects", headers={"Authorization": header})
        assert answer.status_code in {401, 403}, header


def test_a_refused_login_is_counted_and_told_once_and_nothing_that_was_typed_is_kept(airflow: Shop) -> None:
    """People type passwords into the field of the name; only names of the project's people are told."""
    told = len(refused_logins(airflow))
    for name in ("olga", "olga", "hunter2", "olga"):
        for path in ("/auth/token", "/auth/token/cli"):
            answer = airflow.nobody.post(path, json={"username": name, "password": "guess"})
            assert answer.status_code == 401, answer.text
    form = airflow.nobody.post("/auth/token", data={"username": "olga", "password": "guess"})
    assert form.status_code == 401
    assert airflow.nobody.post("/auth/token", content=b"{" * 9000).status_code >= 400
    for _ in range(2):
        logins.pending.flush()
    found = refused_logins(airflow)[: -told or None]
    assert [(one["who"], one["text"]) for one in found] == [
        ("olga", "A login as olga was refused 7 times, last from 127.0.0.1.")
    ]
    counted = {
        tuple(sample.labels.values()): sample.value
        for family in LedgerCollector().collect()
        if family.name == "feature_delivery_logins_refused"
        for sample in family.samples
    }
    assert counted["shop", "known"] >= 7
    assert counted["shop", "unknown"] >= 2
    text = airflow.person("max").get(f"{PREFIX}/projects/shop/events", params={"format": "csv"}).text
    assert ",login_refused,olga," in text
    assert "hunter2" not in text
    assert "guess" not in text


def refused_logins(airflow: Shop) -> list[dict[str, Any]]:
    events = airflow.person("max").get(f"{PREFIX}/projects/shop/events").json()
    return [event for event in events if event["kind"] == "login_refused"]


def test_nothing_is_left_of_an_attack_but_the_record_of_it(airflow: Shop, mallory: httpx.Client, key: str) -> None:
    """The audit has what was refused, with name, way and address; a cell of it is never a formula."""
    body = {"gate": "start", "kind": "reject", "comment": "=HYPERLINK(1)"}
    mallory.post(f"{PREFIX}/projects/shop/features/{key}/decisions", json=body)
    rows = airflow.person("max").get(f"{PREFIX}/projects/shop/audit").json()
    mine = next(row for row in rows if row["key"] == key and row["kind"] == "reject")
    assert (mine["who"], mine["accepted"], mine["way"], mine["address"]) == ("mallory", False, "rest", "127.0.0.1")
    text = airflow.person("max").get(f"{PREFIX}/projects/shop/audit", params={"format": "csv"}).text
    assert ",'=HYPERLINK(1)," in text
    assert airflow.person("max").post(f"{PREFIX}/projects/shop/features/{key}/cancel", json={}).status_code == 200
    events = airflow.person("max").get(f"{PREFIX}/projects/shop/events").json()
    assert ("cancelled", key) in {(event["kind"], event["key"]) for event in events}
    told = airflow.person("max").get(f"{PREFIX}/projects/shop/events", params={"format": "csv"}).text
    assert told.startswith("number,when,project,key,run,attempt,step,kind,who,text")
    assert mallory.get(f"{PREFIX}/projects/shop/events", params={"limit": 0}).status_code == 422
    with begin() as unit:
        assert all(feature.run_id for feature in unit.books.features())
