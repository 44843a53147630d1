"""What an operator or a gate tells Airflow, for each answer of the control plane."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.process import Step
from feature_delivery.domain.work import Done, GateAnswer
from tests.support.bench import Bench, FakeControl

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG


class Desk:
    """A task of the DAG with a control plane beside it."""

    def __init__(self, dag: DAG, control: FakeControl) -> None:
        self.dag, self.control = dag, control

    def context(self, *, last_try: bool = False) -> Any:
        ti = SimpleNamespace(id="uuid", run_id="SHOP-1", try_number=3, max_tries=2 if last_try else 5)
        return {"ti": ti}

    def run(self, step: Step, *, last_try: bool = False) -> Any:
        return self.dag.get_task(step.value).execute(self.context(last_try=last_try))


@pytest.fixture
def desk(dag: DAG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    from feature_delivery.orchestration import gates, operators  # noqa: PLC0415 - after Airflow's environment

    directory = tmp_path / "git"
    directory.mkdir()
    found = Desk(dag, FakeControl(Bench.make(directory).work(Step.NOTIFY_TESTERS)))

    @contextmanager
    def link(_context: object) -> Iterator[object]:
        yield SimpleNamespace(
            channel=None, control=found.control, task_instance="uuid", proof=SimpleNamespace(begin=lambda: None)
        )

    monkeypatch.setattr(operators, "link", link)
    monkeypatch.setattr(gates, "link", link)
    return found


def test_a_gate_goes_on_when_its_flag_is_up(desk: Desk) -> None:
    desk.control.answers = [GateAnswer(outcome="approve")]
    assert desk.run(Step.WAIT_FOR_REVIEW) is None
    assert desk.control.events == [None]


def test_a_gate_is_skipped_when_its_feature_is_over(desk: Desk) -> None:
    from airflow.sdk.exceptions import AirflowSkipException  # noqa: PLC0415

    desk.control.answers = [GateAnswer(over=True, waits_for="SHOP-1 was cancelled")]
    with pytest.raises(AirflowSkipException, match="SHOP-1 was cancelled"):
        desk.run(Step.WAIT_FOR_REVIEW)


def test_a_gate_parks_without_a_trigger_for_as_long_as_it_is_told(desk: Desk) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput  # noqa: PLC0415

    desk.control.answers = [GateAnswer(waits_for="rita", timeout_seconds=86400 * 3650)]
    with pytest.raises(TaskAwaitingInput) as parked:
        desk.run(Step.WAIT_FOR_REVIEW)
    assert parked.value.timeout == timedelta(days=3650)
    assert callable(getattr(desk.dag.get_task(Step.WAIT_FOR_REVIEW.value), parked.value.method_name))


def test_an_answer_from_airflows_page_is_handed_to_the_ledger_and_a_refused_one_parks_again(desk: Desk) -> None:
    from airflow.sdk.exceptions import TaskAwaitingInput  # noqa: PLC0415

    event = {"chosen_options": ["approve"], "responded_by_user": {"id": "dora"}}
    desk.control.answers = [GateAnswer(waits_for="dora worked on it", timeout_seconds=5), GateAnswer(outcome="approve")]
    gate = desk.dag.get_task(Step.WAIT_FOR_REVIEW.value)
    with pytest.raises(TaskAwaitingInput):
        gate.resume(desk.context(), event)
    gate.resume(desk.context(), event)
    assert desk.control.events == [event, event]


@pytest.mark.parametrize(
    "error", [NotFound("It carries no feature."), Refused("Not running."), Misconfigured("Wrong.")]
)
@pytest.mark.parametrize("step", [Step.WAIT_FOR_REVIEW, Step.NOTIFY_TESTERS, Step.DECIDE_ROLLBACK])
def test_what_no_other_try_mends_ends_the_task_with_the_sentence_alone(
    desk: Desk, step: Step, error: Exception
) -> None:
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415

    desk.control.refuse = error
    with pytest.raises(AirflowFailException) as failed:
        desk.run(step)
    assert str(failed.value) == str(error)
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


@pytest.mark.parametrize("step", [Step.WAIT_FOR_REVIEW, Step.NOTIFY_TESTERS, Step.RESERVE_PREPROD])
def test_what_another_try_may_mend_is_left_to_the_retry_policy_until_the_last(desk: Desk, step: Step) -> None:
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415

    desk.control.refuse = Unavailable("Away.")
    with pytest.raises(Unavailable):
        desk.run(step)
    with pytest.raises(AirflowFailException, match="Away"):
        desk.run(step, last_try=True)


def test_a_step_is_done_and_reported(desk: Desk) -> None:
    desk.run(Step.NOTIFY_TESTERS)
    assert desk.control.reports == [Done()]


def test_a_red_result_fails_the_task(desk: Desk) -> None:
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415

    desk.control.problem = "3 of 9 tests failed."
    with pytest.raises(AirflowFailException, match=r"^3 of 9 tests failed\.$"):
        desk.run(Step.NOTIFY_TESTERS)


def test_a_reservation_without_a_permit_ends_well_and_says_so(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.control.refuse = Refused("preprod.reserve of SHOP-1 has no permit: no candidate has been built for it.")
    with caplog.at_level(logging.INFO):
        assert desk.run(Step.RESERVE_PREPROD) is None


def test_a_reservation_of_a_run_without_a_feature_fails(desk: Desk) -> None:
    from airflow.sdk.exceptions import AirflowFailException  # noqa: PLC0415

    desk.control.refuse = NotFound("It carries no feature.")
    with pytest.raises(AirflowFailException):
        desk.run(Step.RESERVE_PREPROD)


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "http://127.0.0.1:8080"}, "http://127.0.0.1:8080/feature-delivery"),
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080/feature-delivery"),
        ({"host": "airflow.example", "schema": "https"}, "https://airflow.example/feature-delivery"),
        ({"host": "https://x/air/feature-delivery/"}, "https://x/air/feature-delivery"),
    ],
)
def test_the_connection_may_be_written_in_any_usual_way(
    projects: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str
) -> None:
    import json  # noqa: PLC0415

    from feature_delivery.orchestration import link  # noqa: PLC0415

    connection = {"conn_type": "http", "password": "secret-token", **fields}
    monkeypatch.setenv("AIRFLOW_CONN_FEATURE_DELIVERY", json.dumps(connection))
    assert link.address() == (url, "secret-token")


@pytest.mark.parametrize("fields", [{"host": "http://x"}, {"password": "secret-token"}])
def test_a_connection_that_lacks_something_says_what(
    projects: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    import json  # noqa: PLC0415

    from feature_delivery.orchestration import link  # noqa: PLC0415

    monkeypatch.setenv("AIRFLOW_CONN_FEATURE_DELIVERY", json.dumps({"conn_type": "http", **fields}))
    with pytest.raises(Misconfigured, match="lacks its") as caught:
        link.address()
    assert "secret-token" not in str(caught.value)


def test_a_task_has_the_seal_of_its_own_secret_written_and_shows_the_secret_to_nobody_but_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType  # noqa: PLC0415
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
    from airflow.sdk.execution_time.comms import ErrorResponse, SetRenderedMapIndex  # noqa: PLC0415

    from feature_delivery.domain.proofs import opens  # noqa: PLC0415
    from feature_delivery.orchestration import link  # noqa: PLC0415

    written: list[SetRenderedMapIndex] = []
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=written.append), raising=False)
    secrets = [link.Proof()(), link.Proof()()]
    assert [opens(secret, one.rendered_map_index) for secret, one in zip(secrets, written, strict=True)] == [True, True]
    assert not opens(secrets[0], written[1].rendered_map_index), "each time another one"
    assert not any(secret in one.rendered_map_index for secret, one in zip(secrets, written, strict=True))

    def refuses(_msg: object) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=refuses), raising=False)
    with pytest.raises(Unavailable, match="did not take the seal"):
        link.Proof()()


def test_the_seal_is_written_while_a_step_asks_and_is_there_before_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415

    from feature_delivery.orchestration.link import Proof  # noqa: PLC0415

    may_write, written = threading.Event(), []

    def write(message: object) -> None:
        assert may_write.wait(10)
        written.append(message)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=write), raising=False)
    proof = Proof()
    proof.settle()  # a gate only asks: nothing is written for it
    assert not written
    proof.begin()
    proof.begin()
    assert not written, "whoever begins it does not wait"
    threading.Timer(0.05, may_write.set).start()
    secret = proof()
    assert len(written) == 1
    assert proof() == secret
    assert len(written) == 1, "once a task"
