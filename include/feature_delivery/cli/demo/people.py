"""The people of the demo. Each acts as a user of their own, through the HTTP API, Git and the shop's pages only."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from feature_delivery.cli.api import Api, find_login
from feature_delivery.cli.demo.overlay import DemoCommit, apply_overlay
from feature_delivery.domain.errors import Error, Unavailable

GIT_TIMEOUT_SECONDS = 60
LOOK_EVERY_SECONDS = 0.3

CAST = {
    "max": ("manager",),
    "dora": ("developer",),
    "dean": ("developer",),
    "rita": ("reviewer",),
    "tess": ("tester",),
    "olga": ("operator",),
}


@dataclass
class Stage:
    """Where the demo is played: the home, the project, everybody's connection, and who is told what happens."""

    home: Path
    project: str
    repository: Path
    production: str
    say: Callable[[str, str], None]
    watch: Callable[[dict[str, Any]], None]
    timeout_seconds: float
    failure: Callable[[], Error | None] = lambda: None
    """Why the instance is gone for good, if it is; a part that comes back is waited for."""
    apis: dict[str, Api] = field(default_factory=dict)

    def api(self, person: str) -> Api:
        """Return the API as ``person``."""
        if person not in self.apis:
            self.apis[person] = Api(find_login(self.home, user=person))
        return self.apis[person]

    def path(self, rest: str = "") -> str:
        """Return a path below the project's."""
        return f"/projects/{self.project}{rest}"

    def feature(self, key: str) -> dict[str, Any]:
        """Return everything known of a feature, and show it."""
        found = self.api("max").get(self.path(f"/features/{key}"))
        assert isinstance(found, dict)
        self.watch(found)
        return found

    def until(self, key: str, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look at the feature until ``holds`` says yes.

        Raises:
            Unavailable: It did not within the scenario's patience; says where the feature stands.
        """
        end = time.monotonic() + self.timeout_seconds
        while True:
            found = self._feature_before(end, key)
            if holds(found):
                return found
            if time.monotonic() > end:
                gate = found.get("gate") or {}
                where = (
                    f"at {gate.get('step')}: {gate.get('blocked') or gate.get('waits_for')}" if gate else "under way"
                )
                raise Unavailable(f"{key} did not come to {what} within {self.timeout_seconds:.0f} s. It is {where}")
            time.sleep(LOOK_EVERY_SECONDS)

    def _feature_before(self, end: float, key: str) -> dict[str, Any]:
        while True:
            try:
                return self.feature(key)
            except Unavailable:
                if (failure := self.failure()) is not None:
                    raise failure from None
                if time.monotonic() > end:
                    raise
            time.sleep(LOOK_EVERY_SECONDS)

    def until_gate(self, key: str, gate: str, *, attempt: int | None = None, blocked: bool = False) -> dict[str, Any]:
        """Wait until the feature waits at ``gate``, with nothing failed before it unless ``blocked``."""

        def there(found: dict[str, Any]) -> bool:
            at = found.get("gate")
            right = at is not None and at["step"] == gate and bool(at["blocked"]) == blocked
            return right and (attempt is None or found["attempt"] == attempt)

        return self.until(key, gate, there)


class Person:
    """One of the cast."""

    def __init__(self, stage: Stage, name: str) -> None:
        """``name``: a user of the instance."""
        self.stage, self.name = stage, name

    def say(self, text: str) -> None:
        """Tell the audience."""
        self.stage.say(self.name, text)

    def post(self, rest: str, body: dict[str, Any]) -> Any:
        """Send something to the project as this person."""
        return self.stage.api(self.name).post(self.stage.path(rest), body)

    def decide(self, key: str, gate: str, kind: str, comment: str = "") -> Any:
        """Say something at a gate."""
        self.say(f"{kind.replace('_', ' ')} at {gate}" + (f": {comment}" if comment else ""))
        return self.post(f"/features/{key}/decisions", {"gate": gate, "kind": kind, "comment": comment})

    def look_at(self, address: str, path: str = "/") -> str:
        """Open a page of the shop."""
        answer = httpx.get(address + path, timeout=10, trust_env=False, follow_redirects=True)
        self.say(f"looks at {address}{path}: {answer.status_code}")
        answer.raise_for_status()
        return answer.text


class Developer(Person):
    """Writes code in a clone of their own and pushes it."""

    @property
    def clone(self) -> Path:
        """Where this person works."""
        return self.stage.home / "developers" / self.name

    def fresh_clone(self) -> None:
        """Clone the shop, as a person does on the first day."""
        shutil.rmtree(self.clone, ignore_errors=True)
        self.clone.parent.mkdir(parents=True, exist_ok=True)
        self._git("clone", "--quiet", str(self.stage.repository), str(self.clone), inside=False)
        self._git("config", "user.name", self.name.title())
        self._git("config", "user.email", f"{self.name}@shop.example")

    def write(self, branch: str, commit: DemoCommit, *, force: bool = False) -> str:
        """Commit one overlay on ``branch`` and push it; returns the commit.

        ``force``: begin again from production and put the new commit in the place of the old ones.
        """
        self._git("fetch", "--quiet", "--prune", "origin")
        start = f"origin/{self.stage.production}" if force else f"origin/{branch}"
        self._git("checkout", "--quiet", "-B", branch, start)
        apply_overlay(self.clone, commit.overlay)
        self._note(branch, commit)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", commit.message)
        pushed = ["push", "--quiet"] + (["--force"] if force else []) + ["origin", branch]
        self.say(f"git {' '.join(pushed)} ({commit.message.splitlines()[0]})")
        self._git(*pushed)
        return self._git("rev-parse", "HEAD")

    def _note(self, branch: str, commit: DemoCommit) -> None:
        """Write what the next release notes say of the feature, as the shop's developers do.

        It also tells two features apart that are the same otherwise: a story that is played again brings back files
        that were rolled back in the one before, and those do not ship again.
        """
        notes = self.clone / "changes"
        notes.mkdir(exist_ok=True)
        name = branch.rpartition("/")[2]
        (notes / f"{name}.md").write_text(f"{commit.message.splitlines()[0]}\n", encoding="utf-8")

    def merge_production(self, branch: str, *, ours: tuple[str, ...]) -> str:
        """Merge production into the branch, taking our side of the files in conflict, and push."""
        self._git("fetch", "--quiet", "origin")
        self._git("checkout", "--quiet", branch)
        self._git("merge", "--quiet", "-X", "ours", "--no-edit", f"origin/{self.stage.production}")
        self.say(f"merges {self.stage.production} into {branch}, settles {', '.join(ours)} and pushes")
        self._git("push", "--quiet", "origin", branch)
        return self._git("rev-parse", "HEAD")

    def delete_branch(self, branch: str) -> None:
        """Delete the branch on the host."""
        self.say(f"git push origin --delete {branch}")
        self._git("push", "--quiet", "origin", "--delete", branch)

    def _git(self, *arguments: str, inside: bool = True) -> str:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environment |= {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "FEATURE_DELIVERY_USER": self.name,
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.clone if inside else None,
            env=environment,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"{self.name}: git {arguments[0]} failed: {done.stderr.strip()[-300:]}")
        return done.stdout.strip()
