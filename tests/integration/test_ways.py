"""Whatever the way: one policy, one sentence on refusal, one row of the audit, with the address it came from."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from airflow.models.hitl import HITLDetail
from fastapi import Request
from sqlalchemy import delete, select
from typer.testing import CliRunner, Result

from feature_delivery.adapters.ledger import tables
from feature_delivery.bootstrap import settings
from feature_delivery.cli import operator_commands
from feature_delivery.cli.api import Api, Login
from feature_delivery.cli.main import app as command_line
from feature_delivery.domain.errors import Error, Unavailable
from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.records import Decision, Feature, now
from feature_delivery.domain.ways import Way
from feature_delivery.ports.git_host import MergeRequest, RequestComment, RequestState, Review, ReviewKind
from feature_delivery.services.control import decide as decisions
from feature_delivery.services.control.comments import hear, unheard
from feature_delivery.services.control.requests import observe_request
from feature_delivery.web import native, rounds
from feature_delivery.web.access import address_of
from feature_delivery.web.board import csrf, pulse
from feature_delivery.web.board.language import languages
from feature_delivery.web.board.sentences import translated
from feature_delivery.web.transaction import WebUnit, begin, session
from tests.support.airflow import copied_engine
from tests.support.board_app import cookie
from tests.support.postgres import PostgresServer
from tests.support.web_app import DAG, Shop, running_shop, whole_airflow

KEY, SHOP, GATE = FeatureKey("SHOP-6"), ProjectName("shop"), Step.WAIT_FOR_REVIEW
PREFIX = "/feature-delivery"
HERE = "127.0.0.1"
SAID = "I read all of it."
HITL = f"/api/v2/dags/{DAG}/dagRuns/{KEY}/taskInstances/{GATE}/-1/hitlDetails"


@pytest.fixture(scope="module")
def airflow(
    postgres_server: PostgresServer, busy_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Airflow's whole API server with the plugin on the busy shop; a review needs two people, so that gates stay."""
    directory = tmp_path_factory.mktemp("ways")
    with pytest.MonkeyPatch.context() as patched, copied_engine(postgres_server, busy_database, patched):
        pulse.snapshots.forget()
        with running_shop(directory, patched) as inner:
            file = directory / "projects" / "shop.yaml"
            text = file.read_text().replace("people:\n", "people:\n  rob: {roles: [reviewer]}\n")
            file.write_text(text + "gates: {review: {count: 2}}\n")
            with whole_airflow(inner, patched) as found:
                yield found


@dataclass(frozen=True)
class Spoken:
    """What came of it: the sentence of a refusal, empty for none; ``None``: this way tells nothing back."""

    sentence: str | None


def feature_of(unit: WebUnit) -> Feature:
    found = unit.books.feature(SHOP, KEY)
    assert found is not None
    return found


def rows() -> list[Decision]:
    with begin() as unit:
        return list(unit.books.decisions(feature_of(unit)))


def by_rest(airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    body = {"gate": "review", "kind": kind, "comment": comment}
    answer = airflow.person(person).post(f"{PREFIX}/projects/shop/features/{KEY}/decisions", json=body)
    return Spoken("" if answer.status_code == 200 else str(answer.json()["message"]))


def by_command_line(airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    token = airflow.person(person).headers["Authorization"].removeprefix("Bearer ")
    environment = {"FEATURE_DELIVERY_URL": airflow.address, "FEATURE_DELIVERY_TOKEN": token}
    words = [kind, KEY, "--gate", "review", "--comment", comment, "--project", "shop"]
    done = invoke(words, environment)
    assert done.exception is None or isinstance(done.exception, Error), done.output
    return Spoken(str(done.exception or ""))


def invoke(words: list[str], environment: dict[str, str]) -> Result:
    """Run the command line here; what it leaves to the end of its process is closed."""
    made: list[Api] = []

    def api(login: Login) -> Api:
        made.append(Api(login))
        return made[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("feature_delivery.cli.context.Api", api)
        done = CliRunner().invoke(command_line, words, env=environment)
    for each in made:
        each.close()
    return done


def by_board(airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    headers = {"Origin": airflow.address, "Sec-Fetch-Site": "same-origin"}
    data = {"gate": GATE.value, "kind": kind, "comment": comment, "token": csrf.token(person)}
    with httpx.Client(base_url=airflow.address, cookies={"_token": cookie(person)}, trust_env=False) as browser:
        answer = browser.post(f"{PREFIX}/board/shop/{KEY}/decisions", data=data, headers=headers)
    refused = re.search(r'class="refusal" role="alert">.*?<bdi>(.*?)</bdi>', answer.text)
    return Spoken(html.unescape(refused[1]) if refused else "")


def by_airflow(airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds, "PARKED_FOR", timedelta(seconds=-60))
        rounds.ask_people()
    body = {"chosen_options": [kind], "params_input": {"comment": comment}}
    answer = airflow.person(person).patch(HITL, json=body)
    if answer.status_code != 200:
        return Spoken(str(answer.json()["detail"]))
    # What a worker does once Airflow has resumed the task.
    with session() as opened:
        asked = select(HITLDetail).where(HITLDetail.ti_id == airflow.instance(GATE, run_id=KEY).id)
        detail = opened.scalars(asked).one()
        event = {"chosen_options": detail.chosen_options, "params_input": detail.params_input}
        event["responded_by_user"] = detail.responded_by_user
    airflow.set(GATE, "running", run_id=KEY)
    claim = {**airflow.claim(GATE, run_id=KEY), "try_number": airflow.instance(GATE, run_id=KEY).try_number}
    taken = airflow.tasks.post(f"{PREFIX}/tasks/gates", json={"task": claim, "event": event})
    assert taken.status_code == 200, taken.text
    airflow.set(GATE, "awaiting_input", run_id=KEY)
    return Spoken("")


def by_review(_airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    with begin() as unit:
        feature = feature_of(unit)
        attempt = unit.books.attempt(feature)
        assert attempt is not None
        assert feature.branch is not None
        word = ReviewKind.APPROVE if kind == "approve" else ReviewKind.REJECT
        project = settings.project(SHOP)
        request = MergeRequest(
            number=6,
            source=feature.branch,
            target=project.branches.preprod,
            head=attempt.commit,
            author="dora",
            title="",
            state=RequestState.OPEN,
            url="",
            reviews=(Review(person=person, kind=word, commit=attempt.commit, comment=comment, at=now()),),
        )
        waits = observe_request(unit, project, feature.run_id, request, seen_at=now())
    return Spoken(waits or None)


def by_comment(_airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    with begin() as unit:
        feature = feature_of(unit)
        text = f"/{kind} review {comment}" if kind == "approve" else f"/{kind} {comment}".strip()
        number = str(len(unit.books.outbox(feature))) + str(now().timestamp())
        said = RequestComment(id=number, author=person, text=text, at=now())
        answers = hear(unit, settings.project(SHOP), feature.run_id, 6, [said])
        waits = unheard(unit, settings.project(SHOP), feature.run_id, [said])
    return Spoken(waits or answers[0].partition(f"said /{kind}. ")[2].strip())


def by_slack(_airflow: Shop, person: str, kind: str, comment: str) -> Spoken:
    """What the endpoint for Slack's buttons says to the service."""
    with begin() as unit:
        say = decisions.Say(
            person=PersonName(person),
            gate=GATE,
            kind=DecisionKind(kind),
            comment=comment,
            way=Way.SLACK,
            address="192.0.2.44",
        )
        try:
            answer = decisions.decide(unit, settings.project(SHOP), KEY, say)
        except Unavailable as error:
            return Spoken(str(error))
    return Spoken("" if answer else answer.reason)


WAYS: dict[Way, tuple[Callable[[Shop, str, str, str], Spoken], str]] = {
    Way.REST: (by_rest, HERE),
    Way.CLI: (by_command_line, HERE),
    Way.BOARD: (by_board, HERE),
    Way.AIRFLOW: (by_airflow, HERE),
    Way.REVIEW: (by_review, ""),
    Way.COMMENT: (by_comment, ""),
    Way.SLACK: (by_slack, "192.0.2.44"),
}
"""Each way with the address that it tells; hosts tell none. Broken glass is not one of them: it has its own rules."""

NO_REVIEWER = "{} is not reviewer of this project: rita, rob may decide at review.wait_for_review."


@dataclass(frozen=True)
class Refusal:
    """What is said in vain, by whom and as what, and the sentence that every way gives."""

    person: str
    role: str
    sentence: str
    kind: str = "approve"


REFUSALS = {
    "role": Refusal("tess", "tester", NO_REVIEWER.format("tess")),
    "author": Refusal("dora", "developer", NO_REVIEWER.format("dora")),
    "stranger": Refusal("mallory", "", "mallory is nobody of shop: add them to 'people' in its project file."),
    "comment": Refusal("rita", "reviewer", "A rejection needs a comment that tells the developer why.", "reject"),
}


@pytest.fixture(autouse=True)
def untouched(airflow: Shop) -> Iterator[None]:
    """Take back what a test decided, so that the next one finds the feature as it was."""
    yield
    with session() as opened:
        opened.execute(delete(tables.decision).where(tables.decision.c.way != "planted"))


def test_every_way_is_tried() -> None:
    assert set(Way) - set(WAYS) == {Way.BREAK_GLASS, Way.DIRECT}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_may_not_count_is_refused_with_the_same_sentence_and_kept_once(
    airflow: Shop, way: Way, refusal: Refusal
) -> None:
    if way is Way.REVIEW and (refusal.person == "mallory" or refusal.kind == "reject"):
        pytest.skip("a stranger's review is no word of ours, and a request for changes always has its comment")
    speak, address = WAYS[way]
    before = len(rows())
    comment = "" if refusal.kind == "reject" else SAID
    for _ in range(2):  # a page that got no answer sends it again
        told = speak(airflow, refusal.person, refusal.kind, comment).sentence
        # The board says it in the reader's language, gates by their names there.
        assert told in {refusal.sentence, None} or told == translated(refusal.sentence, languages()["en"].text)
    (row,) = rows()[before:]
    assert (row.person, row.role, row.way, row.address) == (refusal.person, refusal.role, way, address)
    assert (row.accepted, row.reason, row.kind) == (False, refusal.sentence, refusal.kind)
    assert (row.step, row.comment) == (GATE, comment)
    with begin() as unit:
        feature = feature_of(unit)
        attempt, gate = unit.books.attempt(feature), unit.books.open_gate(feature)
        assert attempt is not None
        assert gate is not None
        assert (row.commit, gate.step) == (attempt.commit, GATE), "the gate stays open"


@pytest.mark.parametrize("way", WAYS)
def test_what_counts_is_kept_once_with_who_as_what_which_commit_when_by_which_way_and_from_where(
    airflow: Shop, way: Way
) -> None:
    speak, address = WAYS[way]
    before, began = len(rows()), now()
    for _ in range(2):
        assert speak(airflow, "rita", "approve", SAID).sentence in {"", None, "rita has said so already."}
    (row,) = rows()[before:]
    with begin() as unit:
        attempt = unit.books.attempt(feature_of(unit))
        assert attempt is not None
    assert (row.person, row.role, row.commit, row.way, row.address) == (
        "rita",
        "reviewer",
        attempt.commit,
        way,
        address,
    )
    assert (row.accepted, row.kind, row.comment, row.reason) == (True, "approve", SAID, "")
    assert began <= row.at <= now()


@pytest.mark.parametrize("way", WAYS)
def test_what_somebody_says_who_may_be_somebody_by_a_group_is_not_refused_and_not_kept(
    airflow: Shop, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsure(project: ProjectConfig) -> ProjectConfig:
        persons = {name: one for name, one in project.people.persons.items() if name != "rita"}
        return replace(project, people=replace(project.people, persons=persons, known=False))

    speak, _ = WAYS[way]
    before = len(rows())
    with monkeypatch.context() as patched:
        patched.setattr(settings, "_complete", unsure)
        sentence = settings.project(SHOP).unclear("rita", Who.REVIEWER)
        told = speak(airflow, "rita", "approve", SAID).sentence
        assert told in {sentence, translated(sentence, languages()["en"].text)}
    assert len(rows()) == before
    speak(airflow, "rita", "approve", SAID)
    assert [(row.person, row.accepted) for row in rows()[before:]] == [("rita", True)], "said again it counts"


def test_an_answer_of_which_nobody_knows_who_it_was_when_its_task_asks_leaves_the_gate_open(
    airflow: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task must not fail for that: it parks again, and the question is shown anew."""
    before = len(rows())
    monkeypatch.setattr(native, "unclear", lambda *_about: "Not now.")
    by_airflow(airflow, "rita", "approve", SAID)
    assert len(rows()) == before
    with begin() as unit:
        gate = unit.books.open_gate(feature_of(unit))
    assert gate is not None
    assert gate.step is GATE


def test_a_refused_answer_on_airflows_page_leaves_the_question_with_the_reason(airflow: Shop) -> None:
    sentence = by_airflow(airflow, "tess", "approve", SAID).sentence
    assert sentence
    listed = airflow.person("tess").get(HITL).json()
    assert listed["response_received"] is False
    assert f"**Did not count:** tess, approve: {sentence}" in listed["body"]
    assert "May decide at *Review; build the candidate* as reviewer: rita, rob. 2 of them are needed." in listed["body"]
    assert listed["options"] == ["approve", "reject"]
    assert list(listed["params"]) == ["comment"]
    assert airflow.state(GATE, run_id=KEY) == "awaiting_input"


def test_the_audit_is_the_same_row_everywhere(airflow: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = now()
    by_board(airflow, "rita", "approve", '=HYPERLINK("http://evil.example")')
    client = airflow.person("max")
    (row,) = client.get(f"{PREFIX}/projects/shop/audit", params={"since": begun.isoformat()}).json()
    assert (row["key"], row["who"], row["role"], row["way"], row["address"]) == (KEY, "rita", "reviewer", "board", HERE)
    view = client.get(f"{PREFIX}/projects/shop/features/{KEY}").json()["decisions"][-1]
    same = ("who", "role", "way", "address", "commit", "when", "kind", "gate", "comment", "reason")
    assert {name: view[name] for name in same} == {name: row[name] for name in same}
    page = airflow.person("max").get(f"{PREFIX}/board/shop/{KEY}")
    assert re.search(rf"<bdi>rita</bdi> <span class=\"muted\"><bdi>reviewer</bdi>.*board <span.*{HERE}", page.text)
    text = client.get(f"{PREFIX}/projects/shop/audit", params={"format": "csv", "since": begun.isoformat()}).text
    (line,) = csv.DictReader(io.StringIO(text))
    assert line["comment"].startswith("'="), "no spreadsheet computes what somebody wrote"
    assert line["address"] == HERE
    token = client.headers["Authorization"].removeprefix("Bearer ")
    environment = {"FEATURE_DELIVERY_URL": airflow.address, "FEATURE_DELIVERY_TOKEN": token}
    done = invoke(["audit", "--csv", "--since", f"{begun:%Y-%m-%d}"], environment)
    assert dict(line) in list(csv.DictReader(io.StringIO(done.output)))
    for name in ("tess", "dora"):  # whatever was said in other tests has been taken back
        by_rest(airflow, name, "approve", SAID)
    monkeypatch.setattr(operator_commands, "PAGE", 2)
    for what, option in (("audit", []), ("events", ["--events"])):
        every = [one["number"] for one in client.get(f"{PREFIX}/projects/shop/{what}", params={"limit": 10_000}).json()]
        assert len(every) > 2, "more than a page"
        for limit, shown in ((0, every), (1, every[:1]), (2, every[:2]), (len(every), every)):
            asked = ["audit", "--json", *option, *(["--limit", str(limit)] if limit else [])]
            done = invoke(asked, environment)
            assert sorted(one["number"] for one in json.loads(done.stdout)) == sorted(shown)
            assert ("These are the newest" in done.stderr) == (shown != every)
    refused = client.get(f"{PREFIX}/projects/shop/audit", params={"since": "2026-11-01T00:00:00"})
    assert (refused.status_code, "time zone" in refused.json()["message"]) == (403, True)


def test_the_address_is_what_a_trusted_proxy_says_and_nobody_else(airflow: Shop) -> None:
    headers = {"X-Forwarded-For": "192.0.2.17"}
    body = {"gate": "review", "kind": "approve"}
    path = f"{PREFIX}/projects/shop/features/{KEY}/decisions"
    airflow.person("rita").post(path, json=body, headers=headers)
    assert rows()[-1].address == "192.0.2.17", "uvicorn trusts this machine"
    forged = [(b"x-forwarded-for", b"6.6.6.6")]
    scope: dict[str, Any] = {"type": "http", "client": ("198.51.100.7", 1), "headers": forged}
    assert address_of(Request(scope)) == "198.51.100.7"


def test_broken_glass_is_on_page_and_overview_and_offered_to_operators_only(airflow: Shop) -> None:
    def page(person: str, path: str) -> str:
        with httpx.Client(base_url=airflow.address, cookies={"_token": cookie(person)}, trust_env=False) as browser:
            return browser.get(f"{PREFIX}/board{path}").text

    form = f'action="{PREFIX}/board/shop/{KEY}/override"'
    assert form in page("olga", f"/shop/{KEY}")
    assert all(form not in page(person, f"/shop/{KEY}") for person in ("rita", "max", "mallory"))
    body = {"gate": "review", "reason": "The shop is <b>down</b>."}
    path = f"{PREFIX}/projects/shop/features/{KEY}/override"
    refused = airflow.person("max").post(path, json=body)
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "max is no operator of shop: olga may break glass.",
    )
    assert airflow.person("olga").post(path, json={"gate": "review"}).status_code == 422
    assert airflow.person("olga").post(path, json=body).status_code == 200
    assert [(d.person, d.way, d.role, d.accepted, d.address) for d in rows()[-2:]] == [
        ("max", "break-glass", "manager", False, HERE),
        ("olga", "break-glass", "operator", True, HERE),
    ]
    pulse.snapshots.forget()
    assert "The shop is &lt;b&gt;down&lt;/b&gt;." in page("tess", f"/shop/{KEY}")
    assert re.search(rf"Glass was broken:</strong>.*{KEY}</a>", page("tess", "/"), re.DOTALL)
