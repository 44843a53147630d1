"""The real Airflow, started as `make demo` starts it."""

from __future__ import annotations

import os
import signal
import stat
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from feature_delivery.cli.embedded.instance import Instance
from feature_delivery.domain.errors import Conflict, Misconfigured
from tests.support.airflow_instance import TRIVIAL_DAG, running_instance
from tests.support.ports import free_port
from tests.support.processes import living

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LONG_TIME_SECONDS = 180
SLOW_DAG = TRIVIAL_DAG.replace('"trivial"', '"slow"').replace("print", "import time; time.sleep(15); print")


def run_to_the_end(instance: Instance, dag_id: str = "trivial", *, run_id: str) -> str:
    with closing(instance.client("alice")) as client:
        answer = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "dag_run_id": run_id})
        assert answer.status_code == 200, answer.text
        return wait_for_end(instance, dag_id, run_id)


def wait_for_end(instance: Instance, dag_id: str, run_id: str) -> str:
    deadline = time.monotonic() + LONG_TIME_SECONDS
    with closing(instance.client("alice")) as client:
        while time.monotonic() < deadline:
            state = client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()["state"]
            if state in {"success", "failed"}:
                return str(state)
            time.sleep(0.2)
    return "still running"


def family(instance: Instance) -> list[psutil.Process]:
    guards = [psutil.Process(pid) for pid in instance.processes().values()]
    return guards + [child for guard in guards for child in guard.children(recursive=True)]


def test_a_run_started_by_rest_succeeds_and_its_log_can_be_read(airflow_instance: Instance) -> None:
    assert run_to_the_end(airflow_instance, run_id="first") == "success"
    with closing(airflow_instance.client("alice")) as client:
        log = client.get("/api/v2/dags/trivial/dagRuns/first/taskInstances/greet/logs/1")
    assert "hello from a task" in log.text


def test_secrets_are_readable_for_their_owner_alone(airflow_instance: Instance) -> None:
    settings = airflow_instance.settings
    files = [settings.passwords_file, settings.home / "airflow.cfg", settings.home.parent / "secrets.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    environment = settings.environment()
    assert not [name for name, value in environment.items() if settings.secrets["database"] in value]


def test_a_second_start_on_the_same_home_names_the_first(airflow_instance: Instance) -> None:
    home = airflow_instance.settings.home.parent
    second = Instance(home, dags_folder=home, plugins_folder=home, users={"admin": "admin"})
    with pytest.raises(Conflict, match=rf"process {os.getpid()} runs it at {airflow_instance.address}"):
        second.start()
    assert run_to_the_end(airflow_instance, run_id="after-the-second-start") == "success"


@pytest.mark.parametrize("part", ["scheduler", "postgres", "api-server", "dag-processor"])
def test_a_killed_part_comes_back_and_runs_go_on(airflow_instance: Instance, part: str) -> None:
    guard = psutil.Process(airflow_instance.processes()[part])
    guard.children()[0].kill()
    deadline = time.monotonic() + LONG_TIME_SECONDS
    # Until the supervisor has seen it, the dead one is still in its books, and passes for ready.
    while airflow_instance.processes().get(part) in {None, guard.pid} and time.monotonic() < deadline:
        time.sleep(0.1)
    while not airflow_instance.is_ready() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert airflow_instance.failure is None
    assert run_to_the_end(airflow_instance, run_id=f"after-{part}-was-killed") == "success"


def test_a_stop_leaves_no_process_and_the_next_start_knows_the_past(tmp_path: Path) -> None:
    directory = tmp_path / "a path with spaces" / ("long" * 30)
    dags = directory / "dags_folder"
    dags.mkdir(parents=True)
    (dags / "trivial.py").write_text(TRIVIAL_DAG)
    (dags / "slow.py").write_text(SLOW_DAG)
    port = free_port()
    with running_instance(directory, dag_ids=("trivial", "slow"), port=port) as instance:
        address, passwords = instance.address, instance.settings.passwords()
        assert run_to_the_end(instance, run_id="before") == "success"
        with closing(instance.client("alice")) as client:
            client.post("/api/v2/dags/slow/dagRuns", json={"logical_date": None, "dag_run_id": "interrupted"})
            task = "/api/v2/dags/slow/dagRuns/interrupted/taskInstances/greet"
            deadline = time.monotonic() + LONG_TIME_SECONDS
            while client.get(task).json()["state"] != "running":
                assert time.monotonic() < deadline, "the slow task does not start"
                time.sleep(0.1)
        processes = family(instance)
    assert not living(processes)

    with running_instance(directory, dag_ids=("trivial",), port=port) as instance:
        assert (instance.address, instance.settings.passwords()) == (address, passwords)
        with closing(instance.client("bob")) as client:
            assert client.get("/api/v2/dags/trivial/dagRuns/before").json()["state"] == "success"
        assert wait_for_end(instance, "slow", "interrupted") == "success", "an interrupted task is run again"


def test_a_dag_file_that_cannot_be_imported_is_named_and_nothing_stays(tmp_path: Path) -> None:
    dags = tmp_path / "dags_folder"
    dags.mkdir()
    (dags / "broken.py").write_text("from airflow.sdk import DAG\nraise RuntimeError('no such project')\n")
    started: list[psutil.Process] = []
    with pytest.raises(Misconfigured, match=r"broken\.py.*'wanted'.*no such project"):  # noqa: SIM117
        with running_instance(tmp_path, dag_ids=("wanted",), on_event=lambda _event: started.extend(below(tmp_path))):
            pass
    assert started
    assert not living(started)


def below(directory: Path) -> list[psutil.Process]:
    """The guards of an instance's parts and all below them; those of other instances fork as they please."""
    found = []
    for guard in psutil.Process().children():
        with suppress(psutil.Error):
            if str(directory) in " ".join(guard.cmdline()):
                found += [guard, *guard.children(recursive=True)]
    return found


def test_the_signals_of_a_terminal_do_not_reach_the_parts(airflow_instance: Instance) -> None:
    sessions = {os.getsid(pid) for pid in airflow_instance.processes().values()}
    assert os.getsid(0) not in sessions
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "an instance does not take its caller's signals"
