"""``HttpControl`` against a real HTTP server, restarted in the middle, slow, broken or somebody else's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from feature_delivery.adapters.control_channel import Channel, Clock
from feature_delivery.adapters.control_http import HttpControl, HttpLooks, HttpTracker
from feature_delivery.domain import errors
from feature_delivery.domain.errors import Misconfigured, RateLimited, Unavailable
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName, TreeSha
from feature_delivery.domain.process import Step
from feature_delivery.domain.upkeep import Doomed, Found, ReapPlan
from feature_delivery.domain.watching import Glance
from feature_delivery.domain.work import (
    BranchesDeleted,
    BranchReady,
    CandidateBuilt,
    CandidateWork,
    CaseLine,
    Done,
    EnvironmentWork,
    Failed,
    GateAnswer,
    Moved,
    Observed,
    PastWork,
    PromotionWork,
    Registered,
    Result,
    SuiteDone,
    Work,
)
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.ports.tracker import Issue, IssueState

A, B, C = CommitSha("a" * 40), CommitSha("b" * 40), CommitSha("c" * 40)
TREE = TreeSha("d" * 40)
SHOP, KEY = ProjectName("shop"), FeatureKey("SHOP-1")
TASK = TaskRef(RunRef(SHOP, "SHOP-1"), Step.PROMOTE, 2, "0190-uuid")
TOKEN = "a-task-token"
WORK = Work(
    permit=7,
    project=SHOP,
    step=Step.PROMOTE,
    key=KEY,
    delivery=1,
    title="Gift cards",
    description="",
    requester="max",
    branch=BranchName("feature/SHOP-1"),
    attempt=3,
    commit=A,
    issue_url="/issues/SHOP-1",
    request_number=4,
    other_branches={BranchName("feature/SHOP-2"): B},
    production_commit=B,
    candidate=CandidateWork(commit=C, tree=TREE, base=B, feature=A, integration_green=True),
    environment=EnvironmentWork(
        instance="i", name="preprod-shop-1", kind="preprod", generation=9, address="http://127.0.0.1:1", shared=False
    ),
    promotion=PromotionWork(before=B, candidate=C, restored=None),
    past=(PastWork(before=A, candidate=B, restored=C),),
    executed_in_production={"unit": 12},
    branch_leases={BranchName("feature/SHOP-1"): A},
    own_branches=(BranchName("candidate/SHOP-1"),),
)
RESULTS: tuple[Result, ...] = (
    Registered(title="t", description="d", issue_url="u", taken=True),
    BranchReady(branch=BranchName("feature/SHOP-1"), head=A, production=B, created=True, ahead=False, authors=("x@y",)),
    SuiteDone(
        suite="unit",
        commit=A,
        tests=2,
        executed=1,
        failed=1,
        seconds=0.5,
        red="1 of 1",
        cases=(CaseLine(name="n", state="failed", seconds=0.1, message="m"),),
    ),
    CandidateBuilt(commit=C, tree=TREE, base=B, feature=A, plan_changed=True),
    Moved(commit=C),
    Observed(outcome="no_data", evidence=("nothing",)),
    BranchesDeleted(deleted=(BranchName("a"),), kept=()),
    Done(note="x"),
    Failed(reason="r", cause="conflict", commit=A),
)


@dataclass
class Server:
    """A small real server; ``answers`` are given in turn, the last one again and again."""

    port: int = 0
    answers: list[tuple[int, Any]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    sockets: list[socket.socket] = field(default_factory=list)
    _http: ThreadingHTTPServer | None = None

    def start(self) -> None:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.connections.add(self.client_address)
                server.requests.append((self.path, dict(self.headers), json.loads(body)))
                status, content = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                if status == 429:
                    self.send_header("Retry-After", "17")
                self.end_headers()
                self.wfile.write(raw)

            def setup(self) -> None:
                super().setup()
                server.sockets.append(self.connection)

            def log_message(self, *_arguments: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
            for one in self.sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self.sockets.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/feature-delivery"


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    running.start()
    yield running
    running.stop()


class VirtualTime:
    """Sleeping costs nothing; ``then`` is called at the given second."""

    def __init__(self, then: Callable[[], None] = lambda: None, *, at: float = 1e9) -> None:
        self.time, self.then, self.at = 0.0, then, at

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.time >= self.at:
            self.at = 1e9
            self.then()

    @property
    def clock(self) -> Clock:
        return Clock(now=self.now, sleep=self.sleep)


@contextmanager
def channel(server: Server, time: VirtualTime | None = None) -> Iterator[Channel]:
    opened = Channel(server.url, TOKEN, clock=(time or VirtualTime()).clock, timeout=httpx.Timeout(5.0))
    try:
        yield opened
    finally:
        opened.close()


def plain(value: object) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(type(value)).dump_python(value, mode="json")


def test_a_permit_arrives_as_it_was_granted(server: Server) -> None:
    server.answers = [(200, plain(WORK))]
    with channel(server) as way:
        assert HttpControl(way).take_permit(TASK) == WORK
    path, headers, body = server.requests[0]
    assert path == "/feature-delivery/tasks/permits"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert body == {
        "project": "shop",
        "run_id": "SHOP-1",
        "step": "production.promote",
        "try_number": 2,
        "task_instance": "0190-uuid",
    }


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.kind)
def test_every_result_is_understood_by_the_other_side(server: Server, result: Result) -> None:
    from pydantic import TypeAdapter  # noqa: PLC0415

    server.answers = [(200, {"problem": "the suite is red"})]
    with channel(server) as way:
        assert HttpControl(way).report(TASK, 7, result) == "the suite is red"
    path, _, body = server.requests[0]
    assert path == "/feature-delivery/tasks/permits/7/results"
    assert body["task"]["task_instance"] == "0190-uuid"
    assert TypeAdapter(Result).validate_python(body["result"]) == result


def test_looks_travel_as_they_were_made(server: Server) -> None:
    looks = (Glance(at=1.25, status=200, seconds=0.5), Glance(at=6.5, status=None, seconds=5.0))
    server.answers = [(200, {}), (200, {"looks": plain(looks)})]
    with channel(server) as way:
        HttpLooks(way).keep(TASK, 7, looks)
        assert HttpLooks(way).kept(TASK, 7) == looks
    (kept, _, body), (asked, _, claim) = server.requests
    assert (kept, asked) == tuple(f"/feature-delivery/tasks/permits/7/looks{rest}" for rest in ("", "/kept"))
    assert body == {"task": claim, "looks": plain(looks)}


def test_a_gate_is_asked_with_what_ended_the_parking(server: Server) -> None:
    server.answers = [(200, {"outcome": "", "over": False, "waits_for": "rita", "timeout_seconds": 12.5})]
    said = {"chosen_options": ["approve"], "responded_at": datetime(2026, 1, 1, tzinfo=UTC)}
    with channel(server) as way:
        answer = HttpControl(way).ask_gate(TASK, said)
        HttpControl(way).ask_gate(TASK)
    assert answer == GateAnswer(waits_for="rita", timeout_seconds=12.5)
    assert server.requests[0][2]["event"] == {"chosen_options": ["approve"], "responded_at": "2026-01-01T00:00:00Z"}
    assert server.requests[1][2]["event"] is None


def test_upkeep_is_asked_for_by_the_running_task(server: Server) -> None:
    plan = ReapPlan(
        instance="i", destroy=(Doomed(name="n", kind="preprod", key=KEY, generation=3),), report=("r",), needed=("p",)
    )
    claim = Claim(instance="i", fresh="new", known=("old",))
    server.answers = [(200, {"runs_moved": 2}), (200, plain(claim)), (200, plain(plan)), (200, {}), (200, {})]
    found = Found(name="n", kind="preprod", key=KEY, instance="i", foreign=False)
    with channel(server) as way:
        control = HttpControl(way, task_instance="me")
        assert control.housekeeping() == {"runs_moved": 2}
        assert control.claim(SHOP) == claim
        assert control.plan_reaping(SHOP, [found], left="new") == plan
        control.reaped(SHOP, name="n", generation=3)
        control.contested(SHOP, "strange")
    assert {body["task_instance"] for _, _, body in server.requests} == {"me"}
    assert (server.requests[2][2]["left"], server.requests[4][2]["found"]) == ("new", "strange")
    assert [path.removeprefix("/feature-delivery/tasks/") for path, _, _ in server.requests] == [
        "housekeeping",
        "reaper/shop/claim",
        "reaper/shop/plan",
        "reaper/shop/reaped",
        "marks/shop/contested",
    ]


def test_the_local_tracker_is_reached_by_the_same_way(server: Server) -> None:
    issue = Issue(KEY, "Gift cards", "", IssueState.OPEN, None, "max", "/i")
    server.answers = [(200, None), (200, plain(issue)), (200, {}), (200, {})]
    with channel(server) as way:
        tracker = HttpTracker(way, project=SHOP, task_instance="me")
        assert tracker.find(KEY) is None
        assert tracker.create(KEY, title="Gift cards", description="", reporter="max") == issue
        tracker.comment(KEY, "text", marker="m")
        tracker.move(KEY, IssueState.DONE)
    assert [path.rpartition("/")[2] for path, _, _ in server.requests] == ["find", "create", "comment", "move"]
    assert server.requests[3][2] == {"task_instance": "me", "key": "SHOP-1", "state": "done"}


@pytest.mark.parametrize(
    ("status", "name"), [(403, "Refused"), (409, "Conflict"), (404, "NotFound"), (422, "Misconfigured")]
)
def test_an_error_comes_back_as_what_it_was_with_its_sentence(server: Server, status: int, name: str) -> None:
    server.answers = [(status, {"error": name, "message": "The sentence."})]
    with channel(server) as way, pytest.raises(getattr(errors, name), match=r"^The sentence\.$"):
        HttpControl(way).take_permit(TASK)
    assert len(server.requests) == 1


def test_being_asked_to_wait_says_how_long(server: Server) -> None:
    server.answers = [(429, {"error": "RateLimited", "message": "Slowly."})]
    with channel(server) as way, pytest.raises(RateLimited) as caught:
        HttpControl(way).take_permit(TASK)
    assert caught.value.retry_after_seconds == 17


def test_a_wrong_token_names_the_connection_and_not_the_token(server: Server) -> None:
    server.answers = [(401, {"error": "Unauthorized", "message": "no"})]
    with channel(server) as way, pytest.raises(Misconfigured, match="'feature_delivery'") as caught:
        HttpControl(way).take_permit(TASK)
    assert TOKEN not in str(caught.value)


def test_a_server_without_the_plugin_is_told_apart_from_a_missing_feature(server: Server) -> None:
    server.answers = [(404, {"detail": "Not Found"})]
    with channel(server) as way, pytest.raises(Misconfigured, match="plugin"):
        HttpControl(way).take_permit(TASK)


def test_a_fault_of_the_server_is_tried_again_by_a_later_task(server: Server) -> None:
    server.answers = [(500, b"<html>oops</html>")]
    with channel(server) as way, pytest.raises(Unavailable):
        HttpControl(way).take_permit(TASK)


@pytest.mark.parametrize("content", [b"<html>", {"permit": 7}, {"problem": 1}])
def test_an_answer_that_is_none_is_a_sentence(server: Server, content: Any) -> None:
    server.answers = [(200, content)]
    with channel(server) as way, pytest.raises(Misconfigured):
        HttpControl(way).take_permit(TASK)


def test_one_connection_is_kept_for_all_requests(server: Server) -> None:
    server.answers = [(200, {"problem": ""})]
    with channel(server) as way:
        for _ in range(5):
            HttpControl(way).report(TASK, 7, Done())
    assert len(server.connections) == 1


def test_a_restart_in_the_middle_is_waited_out(server: Server) -> None:
    server.answers = [(200, {"problem": ""})]
    time = VirtualTime(server.start, at=200.0)
    with channel(server, time) as way:
        control = HttpControl(way)
        control.report(TASK, 7, Done())
        server.stop()
        control.report(TASK, 7, Moved(commit=C))
    assert [body["result"]["kind"] for _, _, body in server.requests][-1] == "moved"
    assert 200.0 <= time.time < 300.0


def test_a_proxy_that_answers_for_a_server_that_starts_is_waited_out(server: Server) -> None:
    server.answers = [(502, b"bad gateway"), (503, b"starting"), (504, b""), (200, {"problem": ""})]
    with channel(server) as way:
        assert HttpControl(way).report(TASK, 7, Done()) == ""
    assert len(server.requests) == 4


def test_a_server_that_stays_away_is_given_up_after_five_minutes_with_a_sentence(server: Server) -> None:
    server.stop()
    time = VirtualTime()
    with channel(server, time) as way, pytest.raises(Unavailable, match="API server"):
        HttpControl(way).take_permit(TASK)
    assert timedelta(seconds=time.time) == timedelta(minutes=5)


def test_who_has_waited_a_server_out_does_not_begin_anew_with_the_next_request(server: Server) -> None:
    """Housekeeping asks for one project after another: an hour of waiting would keep it from the next round."""
    server.answers = [(502, b"")]
    time = VirtualTime()
    with channel(server, time) as way:
        control = HttpControl(way)
        for tries in (60, 1, 1):
            server.requests.clear()
            with pytest.raises(Unavailable):
                control.take_permit(TASK)
            assert len(server.requests) == pytest.approx(tries, abs=tries // 4)
        server.answers = [(200, plain(WORK))]
        assert control.take_permit(TASK) == WORK, "it is tried once"
        server.answers, began = [(502, b"")], time.time
        with pytest.raises(Unavailable):
            control.take_permit(TASK)
    assert timedelta(seconds=time.time - began) == timedelta(minutes=5), "who was there is waited for again"


def test_what_a_server_says_for_as_long_as_it_is_asked_is_said_in_the_end(server: Server) -> None:
    server.answers = [(503, {"error": "Unavailable", "message": "The database is away."})]
    with channel(server) as way, pytest.raises(Unavailable, match="The database is away"):
        HttpControl(way).take_permit(TASK)


def test_a_server_that_hangs_is_not_waited_for_without_end() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        way = Channel(
            address, TOKEN, patience=timedelta(), clock=VirtualTime().clock, timeout=httpx.Timeout(0.2, connect=1.0)
        )
        with pytest.raises(Unavailable):
            way.post("/tasks/permits", {})
        way.close()


@pytest.mark.parametrize("address", ["", "localhost:8080", "ftp://x", "http://", "http://[::1"])
def test_an_address_that_is_none_is_a_sentence(address: str) -> None:
    with pytest.raises(Misconfigured, match="no address of the control plane"):
        Channel(address, TOKEN)
