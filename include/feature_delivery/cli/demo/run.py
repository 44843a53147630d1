"""``feature-delivery demo``: set the stage, act scenarios out, show how each ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from feature_delivery.adapters.git.bare import create_bare
from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.cli.demo.checks import Expectation, Facts, NotAsExpectedError
from feature_delivery.cli.demo.display import Display
from feature_delivery.cli.demo.leftovers import cancel_features, free_production
from feature_delivery.cli.demo.overlay import DemoFeature, read_feature
from feature_delivery.cli.demo.people import CAST, Stage
from feature_delivery.cli.demo.report import make_report, write_report
from feature_delivery.cli.demo.scenarios import Play, Scenario, play_scenario
from feature_delivery.cli.embedded.home import Home, write_private
from feature_delivery.cli.shop import Shop, local_platform
from feature_delivery.cli.status_view import feature_view
from feature_delivery.cli.up import CHECKOUT, Running, production_up, running, wait_for_signal
from feature_delivery.domain.errors import Error
from feature_delivery.domain.names import CommitSha, branch_name, commit_sha, project_name

PROJECT = project_name("demo_store")
STORE = CHECKOUT / "include" / "demo_store"
FEATURES = CHECKOUT / "include" / "demo_features"
GIT_TIMEOUT_SECONDS = 60


def run_demo(
    home: Path,
    scenarios: Sequence[Scenario],
    *,
    leave: bool,
    report: Path | None,
    timeout_seconds: float,
    port: int,
    keep: bool,
) -> None:
    """Run the demo, scenario after scenario; returns when the last is over (``leave``) or Ctrl-C comes.

    The first one that does not end as it must is the last: production may be held by what it left.

    Raises:
        NotAsExpectedError: A scenario did not end as it must.
        Error: Something could not be started or done.
    """
    began = time.monotonic()
    display = Display()
    with ExitStack() as stack:
        with display:
            held = stack.enter_context(Home(home))
            shop = set_stage(home)
            now = stack.enter_context(
                running(
                    (shop,),
                    home=held,
                    port=port,
                    database=None,
                    keep=keep,
                    on_event=display.part,
                    say=lambda text: display.line("", text),
                )
            )
        reports: list[dict[str, Any]] = []
        for place, scenario in enumerate(scenarios):
            if place:
                began, shop = time.monotonic(), set_stage(home)
                production_up(local_platform(home), shop, lambda text: display.line("", text))
            play = make_play(shop, now, display, timeout_seconds=timeout_seconds)
            failure = _act(scenario, play, now, display=display, began=began, reports=reports)
            if report is not None and reports:
                write_report(report, reports[0] if len(scenarios) == 1 else reports)
            if failure is not None and (leave or place + 1 < len(scenarios)):
                raise failure
        if leave:
            return
        display.console.print("Ctrl-C stops everything.")
        wait_for_signal(now.instance)


def _act(
    scenario: Scenario, play: Play, now: Running, *, display: Display, began: float, reports: list[dict[str, Any]]
) -> Error | None:
    """Act one scenario out, show how it ended and add its report; returns why it did not end as it must."""
    key = play.facts.next_key()
    _remember_number(play.stage.home, play.facts)
    with display:
        display.line("", f"Scenario {scenario.name}: {scenario.title}")
        adopt_seed(play)
        before = play.facts.production_commit()
        failure: Error | None = None
        try:
            key, expected = play_scenario(scenario, play)
        except Error as error:
            expected, failure = [Expectation("the scenario", "ended", str(error))], error
        found = _last_look(play, key)
    if found is not None:
        reports.append(
            make_report(
                scenario=scenario.name, facts=play.facts, found=found, before=before, began=began, expected=expected
            )
        )
    _show_end(display.console, now, play.facts, found, expected, seconds=time.monotonic() - began)
    if failure is not None:
        return failure
    missed = [one for one in expected if not one.met]
    if missed:
        return NotAsExpectedError("; ".join(f"{m.what}: {m.found!r}, not {m.expected!r}" for m in missed))
    return None


def _last_look(play: Play, key: str) -> dict[str, Any] | None:
    try:
        return play.stage.feature(key)
    except Error:
        return None


def set_stage(home: Path) -> Shop:
    """Make the demo's home: the shop's repository as it is before any feature, and its project file."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "demo").touch()
    bare = home / "repositories" / f"{PROJECT}.git"
    create_bare(bare, branch_name("production"))
    head = _seed(home / "seed", bare)
    file = home / "projects" / f"{PROJECT}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    template = (CHECKOUT / "include" / "projects" / "demo_store.yaml").read_text("utf-8")
    write_private(file, template.replace("@REPOSITORY@", json.dumps(str(bare))))
    return Shop(project=read_project_file(file), repository=bare, home=home, follow=head)


def _seed(work: Path, bare: Path) -> CommitSha:
    """Bring production to the shop as it is before any feature, by a commit of somebody's hand; returns the commit.

    After a first demo, production holds what that one shipped: the commit takes it out again, and the operator adopts
    it, as with any commit that no delivery brought there.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _git(work, "init", "--quiet", "--initial-branch", "production")
    known = _git(work, "ls-remote", str(bare), "refs/heads/production")
    if known:
        _git(work, "fetch", "--quiet", str(bare), "production")
        _git(work, "update-ref", "refs/heads/production", "FETCH_HEAD")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".pytest_cache", "data", "reports")
    shutil.copytree(STORE, work, ignore=ignored, dirs_exist_ok=True)
    _git(work, "add", "--all")
    if _git(work, "status", "--porcelain"):
        identity = ["-c", "user.name=Max", "-c", "user.email=max@shop.example"]
        _git(work, *identity, "commit", "--quiet", "--message", "The shop as it is")
        _git(work, "push", "--quiet", "--force", str(bare), "production", "production:preprod")
    head = commit_sha(_git(work, "rev-parse", "HEAD"))
    shutil.rmtree(work)
    return head


def _git(directory: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_SECONDS,
    )
    return done.stdout.strip()


def adopt_seed(play: Play) -> None:
    """Let the operator adopt the commit that reset the shop, when the ledger knows another one."""
    free_production(play)
    head, project = play.facts.production_commit(), play.facts.project()
    if project["production_commit"] not in {None, head} or project["frozen_reason"]:
        play.operator.say("adopts the commit that takes the features of the last demo out again")
        play.operator.post("/adopt", {"commit": head})
    cancel_features(play)


def make_play(shop: Shop, now: Running, display: Display, *, timeout_seconds: float) -> Play:
    """Call the people of the demo, each with nothing left from before."""
    for name in CAST:
        shutil.rmtree(shop.home / "developers" / name, ignore_errors=True)
    repository = shop.repository
    assert repository is not None, "the demo's shop is on no host"
    stage = Stage(
        home=shop.home,
        project=shop.project.name,
        repository=repository,
        production=shop.project.branches.production,
        say=display.line,
        watch=display.feature,
        timeout_seconds=timeout_seconds,
        failure=lambda: now.instance.failure,
    )
    platform = local_platform(shop.home)
    facts = Facts(
        get=lambda rest: stage.api("max").get(stage.path(rest)),
        repository=repository,
        production_branch=shop.project.branches.production,
        environments=lambda: platform.list(shop.project.name),
        key_prefix="SHOP",
        first_number=_next_number(shop.home),
    )

    def feature(name: str) -> DemoFeature:
        return read_feature(FEATURES / name)

    return Play(stage=stage, facts=facts, feature=feature)


def _next_number(home: Path) -> int:
    path = home / "demo"
    text = path.read_text("utf-8").strip()
    return int(text) if text.isdigit() else 1


def _remember_number(home: Path, facts: Facts) -> None:
    number = int(facts.next_key().rpartition("-")[2])
    (home / "demo").write_text(f"{number + 3}\n", encoding="utf-8")


def _show_end(
    console: Console,
    now: Running,
    facts: Facts,
    found: dict[str, Any] | None,
    expected: list[Expectation],
    *,
    seconds: float,
) -> None:
    if found is not None:
        console.print(feature_view(found))
        console.print(
            f"\n{seconds:.0f} s in all, of these {found['seconds_waited_for_people']:.1f} s waiting for people.\n"
        )
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in expected:
        table.add_row("[green]✓[/]" if one.met else "[red]✗[/]", one.what, str(one.found))
    console.print(table)
    passwords = now.instance.settings.passwords_file
    console.print(f"\nAirflow      {now.instance.address}")
    console.print(f"Log in       as one of those above; passwords: {passwords}", soft_wrap=True)
    console.print(f"Board        {now.instance.address}/feature-delivery/board/")
    console.print(f"API          {now.instance.address}/feature-delivery/docs")
    console.print(f"Production   {facts.production_address()}")
