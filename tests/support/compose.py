"""docker-compose.yaml as docker-compose itself reads it: variables put in, anchors merged, paths absolute."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.make_env import filled

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yaml"
SECONDS = {"s": 1, "m": 60}
BYTES = {"M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Mount:
    """A volume by name, or a path of the machine."""

    source: str
    target: str
    writable: bool

    @property
    def is_volume(self) -> bool:
        return not self.source.startswith("/")


@dataclass(frozen=True)
class Health:
    """How compose asks a service whether it works."""

    command: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True)
class Service:
    """One service; what it does not say is the image's to say."""

    name: str
    image: str
    hostname: str
    address: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    health: Health | None
    waits_for: Mapping[str, str]
    memory_bytes: int
    replicas: int
    restart: str
    has_no_rights: bool
    profiles: frozenset[str]
    build_arguments: Mapping[str, str]


def needs_compose() -> str:
    """Return the program; skip without it, except in CI, which installs it."""
    found = shutil.which("docker-compose")
    if found is None and not os.environ.get("CI"):
        pytest.skip("docker-compose is not installed: Debian's package of that name reads docker-compose.yaml here.")
    assert found, "docker-compose is missing, though .ci/run installs it"
    return found


def read(directory: Path, **given: str) -> dict[str, Service]:
    """Return every service, with the ``.env`` that ``make env`` makes around what is ``given``; it is kept there.

    One that has replicas is there as often. Further settings, if there are to be any, are in ``settings.env`` of the
    directory.
    """
    settings, more = directory / "settings", directory / "settings.env"
    more.touch()
    given = {"SETTINGS_FILE": str(more), "PROJECTS": str(directory), **given}
    asked = "".join(f"{name}={value}\n" for name, value in given.items())
    settings.write_text(filled((ROOT / ".env.example").read_text("utf-8"), asked), "utf-8")
    command = [needs_compose(), "--env-file", str(settings), "-f", str(FILE), "config"]
    # Compose prefers the environment: nothing of whoever runs the tests shall decide.
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=clean)
    assert done.returncode == 0, done.stderr
    said = yaml.safe_load(done.stdout)
    free = iter(ip_network(said["networks"]["default"]["ipam"]["config"][0]["ip_range"]).hosts())
    services = {name: _service(name, raw, free) for name, raw in said["services"].items()}
    for name, service in list(services.items()):
        services = scaled(services, name, to=service.replicas)
    return services


def settings_of(directory: Path) -> dict[str, str]:
    """Return what ``read`` has put in."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", (directory / "settings").read_text("utf-8"), re.MULTILINE))


def scaled(services: Mapping[str, Service], name: str, *, to: int) -> dict[str, Service]:
    """Return all services with so many of one, as replicas have them: each has a host name and address of its own."""
    taken = {ip_address(one.address) for one in services.values()}
    free = (one for one in ip_network(f"{max(taken)}/25", strict=False).hosts() if one not in taken)
    more = [f"{name}-{number}" for number in range(2, to + 1)]
    like = services[name]
    return {
        **services,
        **{each: replace(like, name=each, hostname=each, address=str(next(free))) for each in more},
    }


def _service(name: str, raw: dict[str, Any], free: Iterator[object]) -> Service:
    limit = str(raw.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory", "0M"))
    return Service(
        name=name,
        image=raw["image"],
        hostname=raw.get("hostname", name),
        address=_own_address(raw) or str(next(free)),
        entrypoint=_words(raw.get("entrypoint", ())),
        command=_words(raw.get("command", ())),
        environment={key: _plain(str(value)) for key, value in raw.get("environment", {}).items()},
        mounts=tuple(_mount(one) for one in raw.get("volumes", ())),
        health=_health(raw["healthcheck"]) if raw.get("healthcheck", {}).get("test", ["NONE"]) != ["NONE"] else None,
        waits_for={other: what["condition"] for other, what in raw.get("depends_on", {}).items()},
        replicas=int(raw.get("deploy", {}).get("replicas", 1)),
        memory_bytes=int(limit[:-1]) * BYTES[limit[-1]],
        restart=str(raw.get("restart", "no")),
        has_no_rights=raw.get("cap_drop") == ["ALL"] and "no-new-privileges:true" in raw.get("security_opt", ()),
        profiles=frozenset(raw.get("profiles", ())),
        build_arguments=raw.get("build", {}).get("args", {}),
    )


def _own_address(raw: dict[str, Any]) -> str:
    """Return the address that the file gives a service; empty: it gets any."""
    networks = raw.get("networks") or {}
    return str((networks.get("default") or {}).get("ipv4_address", "")) if isinstance(networks, dict) else ""


def _words(found: list[str]) -> tuple[str, ...]:
    assert not isinstance(found, str), f"{found!r}: a list of arguments needs no rules for quoting"
    return tuple(map(_plain, found))


def _plain(text: str) -> str:
    """Undo what `config` does so that its output may be read as input again."""
    return text.replace("$$", "$")


def _mount(text: str) -> Mount:
    source, target, mode = text.split(":")
    return Mount(source=source, target=target, writable=mode == "rw")


def _health(raw: dict[str, Any]) -> Health:
    kind, *rest = _words(raw["test"])
    assert kind in {"CMD", "CMD-SHELL"}
    timeout = str(raw["timeout"])
    return Health(
        command=tuple(rest) if kind == "CMD" else ("sh", "-c", *rest),
        timeout_seconds=float(timeout[:-1]) * SECONDS[timeout[-1]],
    )
