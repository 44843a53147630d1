"""What every service of docker-compose.yaml must have, so that it can be trusted for years."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import compose
from tests.support.compose import Service
from tests.support.prometheus import eventually

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
LASTING = sorted(set(SERVICES) - {"migrations"})


def option(service: str, name: str) -> str:
    command = SERVICES[service]["command"]
    return str(command[command.index(name) + 1])


@pytest.mark.parametrize("name", LASTING)
def test_a_service_is_watched_limited_restarted_and_its_log_rotated(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"], f"{name}: say in docker-compose.yaml how it is asked whether it works"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]


def test_every_image_has_a_version() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert not [name for name, image in images.items() if ":" not in image or image.endswith(":latest")]


def test_only_the_proxy_is_open_to_others() -> None:
    open_to_all = {
        name for name, service in SERVICES.items() for port in service.get("ports", []) if "127.0.0.1:" not in port
    }
    assert open_to_all == {"proxy"}


def test_the_proxy_alone_is_believed_about_addresses_and_https() -> None:
    """Else the audit has the proxy's address for everybody's, and login cookies are sent without TLS as well."""
    network = COMPOSE["networks"]["default"]["ipam"]["config"][0]
    ours = SERVICES["proxy"]["networks"]["default"]["ipv4_address"]
    assert SERVICES["api-core"]["environment"]["FORWARDED_ALLOW_IPS"] == ours
    assert "--proxy-headers" in SERVICES["api-core"]["command"]
    assert ip_address(ours) in ip_network(network["subnet"])
    assert ip_address(ours) not in ip_network(network["ip_range"]), "nobody else is given it"
    assert [name for name, each in SERVICES.items() if "FORWARDED_ALLOW_IPS" in each.get("environment", {})] == [
        "api-core"
    ]


def test_every_volume_is_named_and_used() -> None:
    mounts = {str(mount).split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {mount for mount in mounts if not mount.startswith((".", "$"))} == set(COMPOSE["volumes"])


def test_everything_of_airflow_starts_after_the_migrations() -> None:
    ours = [name for name, each in SERVICES.items() if "feature-delivery" in each["image"] and name != "migrations"]
    assert len(ours) == 9
    for name in ours:
        assert SERVICES[name]["depends_on"]["migrations"] == {"condition": "service_completed_successfully"}


def test_what_others_wait_for_is_given_time_for_a_slow_start() -> None:
    """Else `up` ends before they are ready, and what waits for them is not started at all."""
    awaited = {
        other
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert awaited == {"postgres", "redis", "api-core"}
    periods = {name: SERVICES[name]["healthcheck"].get("start_period") for name in awaited}
    assert periods == {"postgres": "5m", "redis": "1m", "api-core": "5m"}


def test_commands_on_the_server_find_the_instance() -> None:
    assert SERVICES["api-core"]["environment"]["FEATURE_DELIVERY_URL"] == "http://api-core:8080"


def test_airflow_has_no_rights_of_root_and_redis_is_nobodys_root() -> None:
    ours = [each for each in SERVICES.values() if "feature-delivery" in each["image"]]
    assert {(tuple(each["cap_drop"]), tuple(each["security_opt"])) for each in ours} == {
        (("ALL",), ("no-new-privileges:true",))
    }
    assert SERVICES["redis"]["user"] == "redis"


def test_a_stop_reaches_what_a_shell_has_started() -> None:
    """A shell that stays passes no signal on: the program would be killed when the time to stop is over."""
    for name, service in SERVICES.items():
        words = service.get("entrypoint") or service.get("command") or []
        if words[:1] in (["sh"], ["bash"]) and name not in {"migrations", "log-groomer"}:
            last = [line for line in words[-1].splitlines() if line.startswith("exec ")]
            assert len(last) == 1, f"{name}: end its script with exec"


def test_workers_stop_before_the_servers_that_their_tasks_report_to() -> None:
    """Compose stops what depends on others first. All at once, a task that ran could not end for ten minutes."""
    for name in ("worker", "worker-local"):
        assert {"api-core", "api-execution", "migrations", "postgres", "redis"} <= set(SERVICES[name]["depends_on"])


def test_heartbeats_and_board_streams_have_servers_of_their_own() -> None:
    environment = SERVICES["worker"]["environment"]
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("http://api-execution:")
    assert "http://api-core:" in environment["AIRFLOW_CONN_FEATURE_DELIVERY"]
    assert (option("api-core", "--apps"), option("api-execution", "--apps")) == ("core", "execution")


def test_the_runbook_asks_a_worker_as_its_health_check_does() -> None:
    """Without the address of the broker Celery asks one on its own machine, where there is none."""
    page = (ROOT / "docs/runbooks/worker-down.md").read_text("utf-8")
    command = SERVICES["worker"]["healthcheck"]["test"][1].replace("$$", "$")
    assert f"docker compose exec worker sh -c '{command}'" in page


def test_how_many_there_are_is_a_setting_that_every_up_keeps(tmp_path: Path) -> None:
    """What ``--scale`` says is forgotten by the next ``up`` without it, as upgrades and settings have it."""
    services = compose.read(tmp_path, WORKERS="3", SCHEDULERS="2", EXECUTION_SERVERS="2")
    counts = {name: one.replicas for name, one in services.items() if one.replicas > 1}
    assert counts == dict.fromkeys(("worker", "worker-2", "worker-3"), 3) | dict.fromkeys(
        ("scheduler", "scheduler-2", "api-execution", "api-execution-2"), 2
    )
    assert len({one.address for one in services.values()}) == len(services)


def test_an_upgrade_starts_anew_whatever_reads_files_of_the_checkout() -> None:
    """Compose compares what docker-compose.yaml says, not the files: a container keeps those it was started with."""
    reading = [
        name for name, each in SERVICES.items() if any(str(one).startswith("./") for one in each.get("volumes", []))
    ]
    for page in ("production", "upgrade"):
        upgrade = (ROOT / "docs" / f"{page}.md").read_text("utf-8").partition("\n## Upgrad")[2]
        anew = re.search(r"`docker compose up -d --no-deps --force-recreate ([a-z -]+)`", upgrade)
        assert anew is not None, page
        assert sorted(anew[1].split()) == sorted(reading), page
        assert "docker compose pull --ignore-buildable && docker compose build --pull" in upgrade


def test_local_shops_have_one_worker_and_every_queue_is_taken() -> None:
    assert option("worker-local", "--queues") == "feature_delivery_local"  # as tests/dags say of the tasks
    assert option("worker", "--queues") == "default"
    assert "replicas" not in SERVICES["worker-local"]["deploy"]


def test_a_second_container_of_local_shops_cannot_start() -> None:
    """``--scale worker-local=2`` is refused for want of an address: both would start every environment."""
    network = COMPOSE["networks"]["default"]["ipam"]["config"][0]
    address = ip_address(SERVICES["worker-local"]["networks"]["default"]["ipv4_address"])
    assert address in ip_network(network["subnet"])
    assert address not in ip_network(network["ip_range"]), "nobody else is given it"
    assert str(address) != SERVICES["proxy"]["networks"]["default"]["ipv4_address"]


def test_work_of_a_killed_worker_goes_on_within_a_minute_when_the_scheduler_was_killed_with_it() -> None:
    """A scheduler fails tasks without a heartbeat only if they are its own, and adopts others' every 5 minutes."""
    helm = yaml.safe_load((ROOT / "include/helm/feature-delivery/values.yaml").read_text("utf-8"))
    prefix = "AIRFLOW__SCHEDULER__"
    environment = SERVICES["scheduler"]["environment"]
    compose = {name.removeprefix(prefix).lower(): value for name, value in environment.items() if prefix in name}
    for scheduler in (compose, helm["airflow"]["config"]["scheduler"]):
        assert "scheduler_health_check_threshold" not in scheduler
        lost = int(scheduler["task_instance_heartbeat_timeout"])
        gone = 30 + int(scheduler["orphaned_tasks_check_interval"])  # seconds without a heartbeat: Airflow's default
        assert max(lost, gone) + int(scheduler["task_instance_heartbeat_timeout_detection_interval"]) < 60


def test_every_setting_is_in_the_example_and_no_secret_has_a_default() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    known = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert used == set(known)
    for name in (name for name, value in known.items() if value.startswith("generate:")):
        assert not re.search(rf"\${{{name}(?!:\?)", TEXT), f"{name} must stop compose when it is missing"


def test_compose_itself_takes_the_file_and_gives_every_part_of_airflow_the_settings_that_have_no_line_in_it(
    tmp_path: Path,
) -> None:
    connection = '{"conn_type": "http", "password": "a$b"}'
    (tmp_path / "settings.env").write_text(
        f"FEATURE_DELIVERY_FENCE=required\nFEATURE_DELIVERY_HOME=/elsewhere\nAIRFLOW_CONN_GITHUB='{connection}'\n"
    )
    services = compose.read(tmp_path)
    for name, service in services.items():
        ours = SERVICES[name]["image"] == SERVICES["api-core"]["image"] and name != "log-groomer"
        found = service.environment
        assert found.get("FEATURE_DELIVERY_FENCE") == ("required" if ours else None), name
        assert found.get("AIRFLOW_CONN_GITHUB") == (connection if ours else None), name
        assert found.get("FEATURE_DELIVERY_HOME") == ("/opt/airflow/state" if ours else None), name


def test_old_logs_go_and_young_ones_stay_by_a_service_that_is_told_nothing_else(
    groomer: Service, tmp_path: Path
) -> None:
    assert groomer.environment == {"DAYS": "7"}
    assert [(one.source, one.target) for one in groomer.mounts] == [("task-logs", "/opt/airflow/logs")]
    logs = tmp_path / "logs"
    ages_in_days = {"dag_id=a/run_id=1/attempt=1.log": 9, "dag_id=a/run_id=2/attempt=1.log": 6, "a b\n.log": 400}
    for name, days in ages_in_days.items():
        path = logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    (logs / "run_id=3").mkdir()  # somebody is about to write into it
    (logs / "run_id=0").mkdir()
    os.utime(logs / "run_id=0", (time.time() - 7200,) * 2)
    outside = tmp_path / "outside"
    outside.touch()
    os.utime(outside, (0, 0))
    (logs / "latest").symlink_to(outside)

    with grooming(groomer, tmp_path) as (process, is_healthy):
        eventually("a round", is_healthy, seconds=20)
        left = {str(path.relative_to(logs)) for path in logs.rglob("*") if not path.is_dir() or not any(path.iterdir())}
        assert left == {"dag_id=a/run_id=2/attempt=1.log", "dag_id=a/run_id=1", "run_id=3", "latest"}
        assert outside.exists()
        process.terminate()  # as a stop does, in the middle of the hour between two rounds
        assert process.wait(10) == -signal.SIGTERM
        assert not is_healthy()


def test_where_logs_cannot_be_deleted_the_service_is_not_healthy_and_says_why(groomer: Service, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    wrong = replace(groomer, environment={"DAYS": "a week"})
    with grooming(wrong, tmp_path) as (process, is_healthy):
        assert process.stdout is not None
        assert "+a week" in process.stdout.readline()
        assert not is_healthy()


@pytest.fixture(scope="module")
def groomer(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return compose.read(tmp_path_factory.mktemp("groomer"), LOG_DAYS="7")["log-groomer"]


@contextmanager
def grooming(service: Service, here: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], bool]]]:
    """Run the service's own script on ``here / "logs"``; gives its process, and what asks its own health check."""

    def moved(words: tuple[str, ...]) -> list[str]:
        return [re.sub("/opt/airflow(?=/logs)|/tmp(?=/groomed)", str(here), word) for word in words]

    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **service.environment}
    command = moved(service.entrypoint)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )

    def is_healthy() -> bool:
        assert service.health is not None
        return (
            subprocess.run(moved(service.health.command), capture_output=True, check=False, timeout=10).returncode == 0
        )

    with process:
        try:
            yield process, is_healthy
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the sleep of a shell that was ended, too


def test_without_a_folder_of_project_files_compose_says_so(tmp_path: Path) -> None:
    """The folder of our own has the demo's template, which is no project file."""
    with pytest.raises(AssertionError, match=r"say in \.env which folder your project files are in"):
        compose.read(tmp_path, PROJECTS="")


def test_every_file_that_is_mounted_is_there() -> None:
    mounts = [str(mount).split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    files = [mount for mount in mounts if mount.startswith("./")]
    assert len(files) >= 7
    assert not [mount for mount in files if not (ROOT / mount).exists()]


def test_prometheus_is_told_every_address_within_the_stack() -> None:
    script = SERVICES["prometheus"]["entrypoint"][-1]
    moved = dict(re.findall(r"s/(localhost:\d+)/([a-z-]+):\d+/", script))
    assert set(re.findall(r"localhost:\d+", (ROOT / "include/monitoring/prometheus.yml").read_text("utf-8"))) <= set(
        moved
    )
    assert set(moved.values()) <= set(SERVICES)


def test_prometheus_reports_no_shop_as_down_that_it_cannot_reach() -> None:
    """Seen on a real engine: a healthy shop of ``worker-local`` paged people, probed at Prometheus' own address."""
    script = str(SERVICES["prometheus"]["entrypoint"][-1])
    source = ROOT / "include/monitoring/prometheus.yml"
    edit = script[script.index("sed ") : script.index(" > /tmp/prometheus/prometheus.yml")]
    command = ["sh", "-ec", edit.replace("/etc/feature-delivery/prometheus.yml", str(source))]
    edited = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    for text, loopback in ((source.read_text("utf-8"), False), (edited, True)):
        jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
        for name in ("shops", "probes"):
            first = jobs[name]["relabel_configs"][0]
            assert (first["source_labels"], first["action"]) == (["__address__"], "drop")
            for address in ("127.0.0.1:21944", "localhost:80", "[::1]:443"):
                assert bool(re.fullmatch(first["regex"], address)) is loopback, (name, address)
            assert not re.fullmatch(first["regex"], "shop.example.com:443")


def test_all_of_the_image_is_compiled_whatever_its_base_had_already() -> None:
    """The official image comes without byte code, and uv compiles only what it installs."""
    (locked,) = [line for line in DOCKERFILE.splitlines() if "--require-hashes" in line]
    assert {"--reinstall", "--compile-bytecode"} <= set(locked.split())


def test_an_image_has_what_the_settings_ask_for_and_always_what_the_stack_needs(tmp_path: Path) -> None:
    """By the command of the Dockerfile itself, and the argument that compose gives it."""
    services = compose.read(tmp_path, EXTRAS="keycloak fab")
    (asked,) = {one.build_arguments["EXTRAS"] for one in services.values() if one.build_arguments}
    export = re.search(r"^RUN (uv export .*?)&&", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert export is not None
    listed = tmp_path / "requirements.txt"
    script = export[1].replace("\\\n", " ").replace("/tmp/requirements.txt", str(listed))  # noqa: S108

    def packages(extras: str) -> set[str]:
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "EXTRAS": extras}
        subprocess.run(["sh", "-ec", script], cwd=ROOT, env=environment, check=True, timeout=60)
        return set(re.findall(r"^([a-z0-9.-]+)==", listed.read_text("utf-8"), re.MULTILINE))

    managers = {"apache-airflow-providers-fab", "apache-airflow-providers-keycloak"}
    needed = {"apache-airflow-providers-celery", "flower", "statsd"}
    assert needed | managers <= packages(asked)
    usual = packages(asked.removesuffix("keycloak fab"))
    assert needed <= usual
    assert not managers & usual
