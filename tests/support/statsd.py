"""What Airflow says by StatsD, and what Prometheus' exporter makes of it by include/monitoring/statsd.yml.

Debian has no exporter. Where one is given, it is asked; else packets are read here and the mapping's rules are applied
to them, which shows names, labels and forms, and not what the exporter's own code does.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml
from prometheus_client import parser

from tests.support.prometheus import MONITORING

EXPORTER_VARIABLE = "FEATURE_DELIVERY_TEST_STATSD_EXPORTER"
MAPPINGS = yaml.safe_load((MONITORING / "statsd.yml").read_text("utf-8"))["mappings"]
KINDS = {"c": "counter", "g": "gauge", "ms": "observer"}
FORMS = {"counter": "counter", "gauge": "gauge", "observer": "histogram"}
BUFFER_BYTES = 2**22


def exporter() -> Path | None:
    """Return the program of Prometheus' StatsD exporter, where one is given."""
    given = os.environ.get(EXPORTER_VARIABLE)
    return Path(given) if given else None


@dataclass
class Figure:
    """One figure of Prometheus': its form, and the values that each of its labels has had."""

    form: str
    labels: dict[str, set[str]] = field(default_factory=dict)

    def add(self, labels: Iterable[tuple[str, str]]) -> None:
        """Take in the labels of a series."""
        for name, value in labels:
            self.labels.setdefault(name, set()).add(value)


class Heard:
    """Datagrams as they come: read at once, since the kernel keeps but some hundred of them."""

    def __init__(self, address: str) -> None:
        """Listen at the exporter's address and port, in the network that this thread is in."""
        self.lines: set[str] = set()
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        with suppress(OSError):  # root may have more than the system's limit
            self._socket.setsockopt(socket.SOL_SOCKET, 33, BUFFER_BYTES)  # SO_RCVBUFFORCE
        self._socket.bind((address, 9125))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):  # closed
            while True:
                for line in self._socket.recv(65536).decode().splitlines():
                    # What was said, not how much (of that there is no end), nor of how many it is a sample (``|@0.1``).
                    name, _, said = line.rpartition(":")
                    self.lines.add(f"{name}:{said.split('|')[1]}")

    def close(self) -> None:
        """Stop."""
        self._socket.close()

    def figures(self) -> dict[str, Figure]:
        """Return what the mapping makes of all that was heard."""
        return mapped(self.lines.copy())


@contextmanager
def heard(address: str) -> Iterator[Heard]:
    """Be the exporter until the block ends."""
    made = Heard(address)
    try:
        yield made
    finally:
        made.close()


def mapped(lines: Iterable[str]) -> dict[str, Figure]:
    """Return the figures of ``name,tag=value:kind`` lines, by their names in Prometheus."""
    found: dict[str, Figure] = {}
    for line in lines:
        rest, _, letter = line.rpartition(":")
        name, *tags = rest.split(",")
        kind = KINDS[letter]
        named = _named(name, kind)
        if named is None:
            continue
        name, form = named
        pairs = [(tag.partition("=")[0], tag.partition("=")[2]) for tag in tags]
        figure = found.setdefault(name, Figure(form))
        assert figure.form == form, f"{name} is said as {figure.form} and as {form}: the exporter drops one of them"
        figure.add((_plain(tag), value) for tag, value in pairs)
    return found


def _named(name: str, kind: str) -> tuple[str, str] | None:
    """Return a figure's name and form by the first rule that speaks of it; ``None``: it is dropped."""
    for rule in MAPPINGS:
        found = re.search(rule["match"], name)
        if found is not None and rule.get("match_metric_type", kind) == kind:
            if rule.get("action") == "drop":
                return None
            name = re.sub(r"\$(\d)", lambda place, found=found: found[int(place[1])], rule["name"])  # type: ignore[misc]
            return _plain(name), rule.get("observer_type", FORMS[kind])
    return _plain(name), {**FORMS, "observer": "summary"}[kind]


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def exported(url: str) -> dict[str, Figure]:
    """Return Airflow's figures on the page of a running exporter."""
    answer = httpx.get(f"{url}/metrics", timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: dict[str, Figure] = {}
    for family in parser.text_string_to_metric_families(answer.text):
        if family.name.startswith("airflow_"):
            figure = found[family.name] = Figure(family.type)
            for sample in family.samples:
                figure.add((name, value) for name, value in sample.labels.items() if name != "le")
    return found


def spoken_of(*texts: str) -> set[str]:
    """Return the figures of Airflow's own that rules, dashboards or docs name, without what histograms add."""
    names = {name for text in texts for name in re.findall(r"(?<![a-z_])airflow_[a-z_]+[a-z]", text)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
