"""A newcomer with a shop of their own, who knows nothing but the README's commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from feature_delivery.cli.api import Api, find_login
from feature_delivery.cli.shop import project_name_of
from feature_delivery.domain.errors import Error
from tests.support.command_line import PROGRAM, Answer, git

LONG_TIME_SECONDS = 240


@dataclass
class Newcomer:
    """Somebody with a shop, a terminal and this package.

    ``project``: named in every command about a feature, where the instance has several.
    """

    home: Path
    checkout: Path
    port: int
    project: str = ""
    up: subprocess.Popen[bytes] | None = None
    _api: Api | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the shell exports."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FEATURE_DELIVERY")}
        return kept | {"FEATURE_DELIVERY_HOME": str(self.home)}

    def run(self, *arguments: str) -> Answer:
        """Type a command."""
        done = subprocess.run(
            [*PROGRAM, *arguments], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *more: str) -> str:
        """Start ``up`` with the shop, and return what it said when all was there."""
        log = self.home.with_name("up.log")
        with log.open("wb") as output:
            up = self.up = subprocess.Popen(
                [*PROGRAM, "up", "--repository", str(self.checkout), "--port", str(self.port), *more],
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self.until(lambda: "Ctrl-C stops everything" in log.read_text() or up.poll() is not None)
        assert up.poll() is None, log.read_text()
        return log.read_text()

    def stop(self, number: signal.Signals) -> int:
        """End ``up`` by a signal; return its exit code."""
        assert self.up is not None
        self.hang_up()
        self.up.send_signal(number)
        return self.up.wait(60)

    def push(self, branch: str, message: str, files: dict[str, str]) -> None:
        """Commit these files and push them to the repository that ``up`` has printed."""
        for name, text in files.items():
            (self.checkout / name).write_text(text)
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--message", message)
        git(self.checkout, "push", "--quiet", "delivery", f"HEAD:{branch}")

    @property
    def of_project(self) -> tuple[str, ...]:
        """What a command about a feature needs besides its key."""
        return ("--project", self.project) if self.project else ()

    def feature(self, key: str) -> dict[str, Any]:
        """Return what ``status`` knows of a feature; nothing while there is none."""
        answer = self.run("status", key, "--json", *self.of_project)
        return dict(json.loads(answer.out)) if answer.code == 0 else {}

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds; one time limit for everything."""
        deadline = time.monotonic() + LONG_TIME_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.run("status", *self.of_project).out
            time.sleep(0.5)

    def until_gate(self, key: str, gate: str, *, blocked: str = "") -> None:
        """Wait until a feature waits at a gate; with ``blocked``, that is why it cannot go on."""

        def there() -> bool:
            at = self._gate(key)
            return str(at.get("step", "")).endswith(f"wait_for_{gate}") and blocked in at.get("blocked", "")

        self.until(there)

    def _gate(self, key: str) -> dict[str, Any]:
        """Ask the API that the commands ask: starting a program twice a second would be most of what the machine does.

        Nothing while it does not answer: tests kill it.
        """
        project = self.project or project_name_of(str(self.checkout))
        try:
            if self._api is None:
                self._api = Api(find_login(self.home))
            found = self._api.get(f"/projects/{project}/features/{key}")
        except Error:
            self.hang_up()
            return {}
        return dict(found["gate"] or {})

    def hang_up(self) -> None:
        """Close the connection to the API, if there is one."""
        if self._api is not None:
            self._api.close()
            self._api = None

    def decide(self, key: str, *gates: str) -> None:
        """Approve at each gate as soon as the feature has come there."""
        for gate in gates:
            self.until_gate(key, gate)
            assert self.run("approve", key, "--gate", gate, *self.of_project).code == 0

    def processes(self, *parts: str) -> list[psutil.Process]:
        """Everything that runs on account of this home; with ``parts``, only command lines that hold one of them."""
        mark = str(self.home)
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                said = " ".join([line, *process.environ().values()])
                # Our own children are the commands that a test has just called.
                if mark in said and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found += [process] if not parts or any(part in line for part in parts) else []
            except psutil.Error:  # it has ended meanwhile
                continue
        return found
