"""What comes from outside without a login, or with a name that only looks like one of ours."""

from __future__ import annotations

import http.server
import re
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from feature_delivery.adapters.http_probe import HttpProbe
from feature_delivery.adapters.platforms.local import health
from feature_delivery.domain.names import PersonName
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step, Who
from feature_delivery.domain.project import HostConfig
from feature_delivery.ports.git_host import RequestComment
from feature_delivery.services.control.comments import hear
from feature_delivery.web import hardening
from feature_delivery.web.guard import HEADERS
from tests.support.cooperation import bring
from tests.support.web_app import Shop, serve
from tests.support.world import World

ROOT = Path(__file__).parents[2]
PROXY = (ROOT / "include" / "proxy" / "Caddyfile").read_text("utf-8")


def test_an_account_of_the_same_name_on_the_host_is_not_one_of_our_people() -> None:
    """Anybody may call themselves tom on a public host; ours has said there that he is tom-of-the-shop."""
    world = World()
    try:
        persons = dict(world.project.people.persons)
        persons[PersonName("tom")] = replace(persons[PersonName("tom")], logins=frozenset({"Tom-of-the-Shop"}))
        world.project = replace(
            world.project, people=replace(world.project.people, persons=persons), host=HostConfig(kind="github")
        )
        feature = bring(world, "SHOP-1", Step.WAIT_FOR_ACCEPTANCE)
        number = world.requests[feature.branch].number if feature.branch else 0
        for name, author in (("1", "tom"), ("2", "TOM"), ("3", "tom-of-the-shop")):
            said = RequestComment(id=name, author=author, text="/approve acceptance", at=world.time)
            with world.begin() as unit:
                hear(unit, world.project, feature.run_id, number, [said])
        with world.peek() as books:
            found = [(d.person, d.accepted) for d in books.decisions(feature) if d.step is Step.WAIT_FOR_ACCEPTANCE]
        assert found[-1] == ("tom", True)
        assert not [one for one in found[:-1] if one[1]], found
        assert "tom" not in {person for person, accepted in found if not accepted}, "and the audit tells them apart"
    finally:
        world.close()


def test_who_writes_a_name_in_other_letters_is_still_the_author() -> None:
    world = World()
    try:
        people = world.project.people
        assert people.by_login("RITA") == "rita"
        assert people.with_role(Who.REVIEWER) == ("rita", "rob")
        authors = frozenset({PersonName("rita")})
        said = people.may_decide(
            PersonName("rita"), gate=Step.WAIT_FOR_REVIEW, kind=DecisionKind.APPROVE, authors=authors, voices=()
        )
        assert "worked on this commit" in said.reason
    finally:
        world.close()


def test_every_answer_is_kept_by_nobody_framed_by_nobody_and_run_by_nobody(airflow: Shop) -> None:
    for path, code in (("/health", 200), ("/projects", 401), ("/nothing", 404), ("/openapi.json", 200), ("/docs", 200)):
        answer = airflow.nobody.get(f"/feature-delivery{path}")
        assert answer.status_code == code, path
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS, path
    mine = airflow.person("max").get("/feature-delivery/board/")
    assert "frame-ancestors 'self'" in mine.headers["content-security-policy"], "the board is shown within Airflow"


def test_the_description_of_the_api_loads_nothing_from_elsewhere(airflow: Shop) -> None:
    page = airflow.nobody.get("/feature-delivery/docs").text
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "/projects/{project}/features/{key}/decisions" in page
    assert "rita is not tester of this project" in page, "with examples of refusals"


def test_a_body_without_end_is_not_read_to_its_end(airflow: Shop) -> None:
    """Nobody has asked yet who sends it: what is kept and parsed is anybody's. The rest is dropped as it comes."""
    body = [b" " * 65536] * 200
    of_a_task = {"Authorization": "Bearer not-the-token"}
    for path in ("/projects/shop/features", "/projects/shop/features/SHOP-1/decisions", "/tasks/permits"):
        headers = {"Content-Type": "application/json", **(of_a_task if path.startswith("/tasks/") else {})}
        # That the server hangs up while we are still sending is as good.
        with suppress(httpx.TransportError):
            answer = airflow.nobody.post(f"/feature-delivery{path}", content=iter(body), headers=headers)
            assert answer.status_code == 413, path


def test_a_guarded_answer_is_given_when_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from feature_delivery.web.guard import GuardedApp  # noqa: PLC0415 - FastAPI

    app = GuardedApp()

    @app.get("/")
    def fails() -> None:
        raise RuntimeError("oh")

    with serve(app) as address, closing(httpx.Client(base_url=address, trust_env=False)) as client:
        answer = client.get("/")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_proxy_lets_in_what_people_and_hosts_ask_and_nothing_else() -> None:
    within = re.search(r"@within path (.*)", PROXY)
    assert within is not None
    assert set(within[1].split()) == {
        "/execution/*",
        "/feature-delivery/tasks/*",
        "/feature-delivery/metrics",
        "/feature-delivery/prometheus/*",
    }
    closed = re.search(r"handle @within \{\s*respond 404\s*\}", PROXY)
    assert closed is not None
    assert closed.start() < PROXY.index("reverse_proxy")
    assert "max_size 40MB" in PROXY


def test_the_proxy_says_on_every_page_what_the_api_server_says() -> None:
    block = PROXY[PROXY.index("header {") : PROXY.index("request_body")]
    said = re.findall(r'^\t+(?:header (?:@data )?)?\??([A-Z][\w-]+) (?:"([^"]*)"|(\S+))$', block, re.MULTILINE)
    wanted = hardening.HEADERS | hardening.SECURE | hardening.UNKEPT
    assert {name: quoted or plain for name, quoted, plain in said} == wanted
    data = re.search(r"@data path (.*)", block)
    assert data is not None
    assert set(data[1].split()) == {f"{path}*" for path in (*hardening.DATA, "/feature-delivery/")}
    assert "?Content-Security-Policy" in block, "what the board says of itself stands"
    assert "-Server" in block


def test_airflows_own_pages_are_framed_and_sniffed_by_nobody_whatever_is_in_front(airflow: Shop) -> None:
    """By Airflow's whole server, with no proxy; what ours say themselves stands, and nothing is said twice."""
    person = airflow.person("max")
    for client, path, code in (
        (airflow.nobody, "/", 200),
        (airflow.nobody, "/dags/feature_delivery_shop", 200),
        (airflow.nobody, "/auth/login", 200),
        (airflow.nobody, "/api/v2/dags", 401),
        (person, "/api/v2/dags", 200),
        (person, "/ui/config", 200),
        (person, "/api/v2/nothing", 404),
        (person, "/feature-delivery/board/", 200),
        (airflow.nobody, "/feature-delivery/health", 200),
    ):
        answer = client.get(path, follow_redirects=False)
        names = [name.lower() for name, _ in answer.headers.multi_items() if name.lower() != "set-cookie"]
        assert answer.status_code == code, path
        assert len(names) == len(set(names)), f"{path} says something twice: {names}"
        own = path.startswith("/feature-delivery/")
        wanted = hardening.HEADERS | (hardening.UNKEPT if path.startswith(hardening.DATA) else {})
        found = {name: answer.headers[name] for name in wanted if not (own and name.startswith("Content"))}
        assert found == {name: wanted[name] for name in found}, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"] or not own, "its own, stricter one"
        assert "Strict-Transport-Security" not in answer.headers, "nobody came by https"
    for said, secure in (("https", True), ("https, http", True), ("http", False)):
        answer = airflow.nobody.get("/", headers={"X-Forwarded-Proto": said})
        assert ("Strict-Transport-Security" in answer.headers) is secure, said


def test_a_shop_that_leads_elsewhere_is_not_followed() -> None:
    """A branch's shop answers with a redirect to an address within: nobody here goes there."""
    asked: list[str] = []

    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{port}/latest/meta-data")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert HttpProbe().look(f"http://127.0.0.1:{port}/healthz").status == 302
        assert health.answer(port, "/healthz") == 302
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["/healthz", "/healthz"]
