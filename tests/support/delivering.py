"""The whole product for tests: the real Airflow delivers features of the demo shop; its people are at hand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from feature_delivery.cli.demo.display import Display
from feature_delivery.cli.demo.overlay import DemoCommit, DemoFeature
from feature_delivery.cli.demo.run import adopt_seed, make_play, set_stage
from feature_delivery.cli.demo.scenarios import CODE, START, Play
from feature_delivery.cli.embedded.home import Home
from feature_delivery.cli.up import Running, running
from feature_delivery.domain.errors import Unavailable
from tests.support.ports import free_port

PATIENCE_SECONDS = 300
"""For one step: a bound against hanging, not a measure."""

DAG = "feature_delivery_demo_store"


@dataclass
class DeliveringShop:
    """A running shop; every feature of it adds one small file of its own, so that none is in another's way."""

    home: Path
    now: Running
    play: Play
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(101))

    def new(self) -> tuple[str, DemoFeature]:
        """A key that nobody has used, and what is to be built under it: two commits."""
        number = next(self.numbers)
        commits = []
        for place in (1, 2):
            overlay = self.home / "overlays" / f"{number}-{place}"
            (overlay / "notes").mkdir(parents=True)
            (overlay / "notes" / f"{number}.md").write_text(f"Note {number}, as written the {place}. time.\n")
            commits.append(DemoCommit(number=place, message=f"Note {number}", overlay=overlay, from_production=False))
        return f"SHOP-{number}", DemoFeature(f"Note {number}", "A note in the shop's sources.", tuple(commits), None)

    def at_start(self) -> str:
        """A feature that waits for somebody to take it."""
        key, what = self.new()
        self.play.manager.post("/features", {"key": key, "title": what.title})
        self.play.stage.until_gate(key, START)
        return key

    def pushed(self) -> tuple[str, DemoFeature]:
        """A feature whose first commit has just been pushed."""
        key, what = self.new()
        branch = self.play.begin(key, what)
        self.play.stage.until_gate(key, CODE)
        self.play.developer().write(branch, what.commits[0])
        return key, what

    def at_acceptance(self) -> tuple[str, DemoFeature]:
        """A feature that waits for the testers."""
        key, what = self.pushed()
        self.play.reviewed(key)
        return key, what

    def until(self, what: str, holds: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> Any:
        """Look until it holds; a part that is down just then is waited for."""
        end = time.monotonic() + seconds
        while True:
            try:
                if found := holds():
                    return found
            except (Unavailable, psutil.Error):
                pass
            assert self.now.instance.failure is None
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.1)

    def steps(self, key: str) -> dict[str, str]:
        """The state of each task."""
        return {step["task"]: step["state"] for step in self.play.stage.feature(key)["steps"]}

    def until_step(self, key: str, task: str, *states: str) -> None:
        """Wait until a task is in one of the states."""
        self.until(f"{task} of {key} is {' or '.join(states)}", lambda: self.steps(key)[task] in states)

    def until_at_work(self, key: str, task: str) -> None:
        """Wait until a process has begun a task, in Airflow's word: the board's *running* is what is queued, too."""
        self.until(f"{task} of {key} is at work", lambda: self.task(key, task)["state"] == "running")

    def airflow(self, method: str, path: str, body: dict[str, Any] | None = None, *, user: str = "olga") -> Any:
        """Call Airflow's own REST API below the DAG."""
        return self.play.stage.api(user).airflow(method, f"/dags/{DAG}{path}", body)

    def task(self, key: str, task: str) -> dict[str, Any]:
        """A task instance as Airflow tells it."""
        found = self.airflow("GET", f"/dagRuns/{key}/taskInstances/{task}")
        assert isinstance(found, dict)
        return found

    def clear(self, key: str, *tasks: str, downstream: bool = True) -> None:
        """Clear as the page does."""
        body = {
            "dry_run": False,
            "dag_run_id": key,
            "task_ids": list(tasks),
            "include_downstream": downstream,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.airflow("POST", "/clearTaskInstances", body)

    def mark(self, key: str, task: str, state: str) -> None:
        """Mark as the page does."""
        self.airflow("PATCH", f"/dagRuns/{key}/taskInstances/{task}", {"new_state": state})

    def log(self, key: str, task: str) -> str:
        """What the newest try of a task has written."""
        number = self.task(key, task)["try_number"]
        answer = self.airflow("GET", f"/dagRuns/{key}/taskInstances/{task}/logs/{number}?full_content=true")
        return str(answer["content"])

    def production(self) -> str:
        """Where production's branch is."""
        return self.play.facts.production_commit()

    def environments(self) -> set[str]:
        """What the platform itself has."""
        directory = self.home / "environments" / "demo_store"
        return {path.name for path in directory.iterdir() if path.is_dir()}

    def environments_of(self, key: str) -> set[str]:
        """What the platform has of a feature."""
        return {name for name in self.environments() if name.endswith(f"-{key.lower()}")}


@contextmanager
def delivering_shop(home: Path) -> Iterator[DeliveringShop]:
    """A shop under delivery in ``home``, with everything stopped at the end."""
    display = Display()
    with ExitStack() as stack:
        held = stack.enter_context(Home(home))
        shop = set_stage(home)
        now = stack.enter_context(
            running(
                (shop,),
                home=held,
                port=free_port(),
                database=None,
                keep=False,
                on_event=display.part,
                say=lambda text: display.line("", text),
            )
        )
        play = make_play(shop, now, display, timeout_seconds=PATIENCE_SECONDS)
        adopt_seed(play)
        try:
            yield DeliveringShop(home, now, play)
        finally:
            for api in play.stage.apis.values():
                api.close()
