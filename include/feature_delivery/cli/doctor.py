"""``feature-delivery doctor``: every part looked at once, each with a sentence about what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.platforms.local import fence, fencing
from feature_delivery.bootstrap import variables
from feature_delivery.bootstrap.project_file import project_faults, read_project_file
from feature_delivery.cli.api import Api, authorities, find_login
from feature_delivery.domain.errors import Error, NotFound, Unavailable
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.freezes import freeze_at
from feature_delivery.domain.names import project_name
from feature_delivery.domain.process import Who
from feature_delivery.domain.project import ProjectConfig
from feature_delivery.domain.team import why_stuck
from feature_delivery.services.delivery_file import read_delivery_file

OLDEST_GIT = (2, 38)
LEAST_FREE_BYTES = 1 << 30


PROMETHEUS_SECONDS = 10
EXAMINATION_SECONDS = 180
"""Hosts that do not answer are waited for there, each of their calls with a time limit of its own."""


def examine_project(home: Path, name: str) -> Iterator[Finding]:
    """Have the running instance look at a project's host, tracker, Git access, webhook secret and people."""
    what = f"{name}: instance"
    try:
        project = project_name(name)
        api = Api(find_login(home, user="admin" if not variables.read("url").url else None))
        found = api.get(f"/projects/{project}/examination", timeout_seconds=EXAMINATION_SECONDS)
    except Unavailable as error:
        yield Finding(
            what, well=False, sentence=f"{error} Connections are in the running instance: only it can look at them."
        )
        return
    except Error as error:
        yield Finding(what, well=False, sentence=str(error))
        return
    for one in found:
        yield Finding(what=str(one["what"]), well=bool(one["well"]), sentence=str(one["sentence"]))


def examine(home: Path) -> Iterator[Finding]:
    """Look at programs, disk, project files, repositories and the running instance."""
    yield from variables.examine()
    yield _python()
    yield _git()
    yield _disk(home)
    yield _fence()
    folder = variables.read("projects").projects
    files = sorted((folder or home / "projects").glob("*.y*ml"))
    if not files:
        said = f"FEATURE_DELIVERY_PROJECTS, {folder}, holds no project file. Put one there." if folder else ""
        said = said or f"{home / 'projects'} holds no project file. Run 'up' or 'demo'."
        yield Finding("projects", well=False, sentence=said)
    deferring = []
    for file in files:
        try:
            project = read_project_file(file)
        except Error:
            yield from (Finding(file.name, well=False, sentence=one) for one in project_faults(file))
            continue
        yield Finding(
            file.name, well=True, sentence=f"Host {project.host.kind}; people: {', '.join(project.people.persons)}."
        )
        if said := why_stuck(project.people):
            yield Finding(f"{project.name}: sign-offs", well=False, sentence=said)
        yield from _freezes(project)
        deferring += [project.name] if project.defers else []
        if project.host.kind == "local":
            yield _repository(home, project)
            yield _hook(project)
        else:
            command = f"feature-delivery doctor --project {project.name}"
            said = f"It is on {project.host.kind}: look at it from the running instance with '{command}'."
            yield Finding(f"{project.name}: repository", well=True, sentence=said)
    yield from _instance(home, deferring)
    yield from examine_prometheus()


def examine_prometheus() -> Iterator[Finding]:
    """Look at the Prometheus that ``FEATURE_DELIVERY_PROMETHEUS_URL`` names, if there is one."""
    url = variables.read("prometheus_url").prometheus_url
    if not url:
        said = "None is configured, none is needed. docs/monitoring.md says how to have alerts and dashboards."
        yield Finding("prometheus", well=True, sentence=said)
        return
    try:
        with httpx.Client(timeout=PROMETHEUS_SECONDS, trust_env=False, verify=authorities(url)) as client:
            found = client.get(f"{url}/api/v1/query", params={"query": 'up{job="feature-delivery"}'}).raise_for_status()
            up = [series["value"][1] == "1" for series in found.json()["data"]["result"]]
            groups = client.get(f"{url}/api/v1/rules", params={"type": "alert"}).raise_for_status().json()
            alerts = {rule["name"] for group in groups["data"]["groups"] for rule in group["rules"]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError) as error:
        said = (
            f"{url} did not answer as Prometheus does ({type(error).__name__}). Check FEATURE_DELIVERY_PROMETHEUS_URL."
        )
        yield Finding("prometheus", well=False, sentence=said)
        return
    scraped = (
        "It scrapes us." if any(up) else "It does not scrape us: add the job 'feature-delivery', compare the token."
    )
    yield Finding("prometheus", well=any(up), sentence=scraped)
    known = "GateOverdue" in alerts
    said = (
        f"{len(alerts)} alerts." if known else "Our alerts are not loaded: add include/monitoring/rules to rule_files."
    )
    yield Finding("alerts", well=known, sentence=said)


def _triggerer(state: str, deferring: Sequence[str]) -> Finding:
    """Say whether what waits in the triggerer will ever go on."""
    if state == "healthy":
        return Finding("triggerer", well=True, sentence="healthy.")
    said = (
        f"{'No triggerer has run' if state == 'None' else state}, and steps of {', '.join(deferring)} wait in one (a "
        "cluster, or a watch on production of more than 30 seconds): they would wait for ever. Start "
        "'airflow triggerer'; an instance that 'up' started has one after its next start."
    )
    return Finding("triggerer", well=False, sentence=said)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", well=sys.version_info >= (3, 11), sentence=f"{found}; 3.11 or newer is needed.")


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        return Finding("git", well=False, sentence="There is no git on the PATH. Install it.")
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", answer)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    wanted = ".".join(map(str, OLDEST_GIT))
    return Finding("git", well=version >= OLDEST_GIT, sentence=f"{answer.strip()}; {wanted} or newer is needed.")


def _disk(home: Path) -> Finding:
    place = next(parent for parent in (home, *home.parents) if parent.exists())
    if not os.access(place, os.W_OK):
        return Finding("disk", well=False, sentence=f"{place} cannot be written. Set FEATURE_DELIVERY_HOME.")
    free = shutil.disk_usage(place).free
    return Finding(
        "disk", well=free > LEAST_FREE_BYTES, sentence=f"{free / (1 << 30):.1f} GiB free in {place}; 1 is needed."
    )


def _fence() -> Finding:
    """Say what keeps the code of branches on the platform ``local`` from what is not theirs, and what cannot here."""
    wanted = variables.read("fence", "fence_ports")
    version = fence.version()
    if wanted.fence == "off":
        said = "It is off: the code of a branch on the platform 'local' may do what Airflow's user may, without limit."
        return Finding("fence", well=False, sentence=said)
    if version < 1:
        said = "This kernel has no Landlock: nothing but limits keeps the code of a branch from Airflow's files."
        return Finding("fence", well=False, sentence=f"{said} Use a cluster, or another kernel.")
    if wanted.fence_ports and not fence.can_close_ports():
        said = "FEATURE_DELIVERY_FENCE_PORTS closes nothing: that takes Linux 6.7 on x86-64 or ARM."
        return Finding("fence", well=False, sentence=said)
    apart = fencing.can_set_apart()
    missing = [
        *([] if version >= 6 else ["signals to other processes (Linux 6.12)"]),
        *([] if fence.can_filter() else ["limits and priorities of other processes (x86-64 and ARM)"]),
        *([] if apart or wanted.fence == "required" else ["the machine's shared memory (/dev/shm)"]),
        *([] if wanted.fence_ports else ["ports (FEATURE_DELIVERY_FENCE_PORTS)"]),
    ]
    lacks = f" Not closed: {', '.join(missing)}." if missing else ""
    if not apart:
        lacks += " Shops have no terminals (pexpect) here" + (
            ", and shared memory (pools of Python) by FEATURE_DELIVERY_FENCE_OPEN=/dev/shm alone."
            if wanted.fence == "required"
            else "."
        )
    return Finding("fence", well=True, sentence=f"Files, memory and processes are kept apart, use is limited.{lacks}")


def _repository(home: Path, project: ProjectConfig) -> Finding:
    what = f"{project.name}: repository"
    try:
        repository = GitRepository(
            project.repository,
            home / "mirrors" / f"{project.name}.git",
            production=project.branches.production,
            candidate_prefix=project.branches.candidate_prefix,
        )
        heads = repository.heads()
        head = heads.get(project.branches.production)
        if head is None:
            raise NotFound(f"{repository.address} has no branch {project.branches.production!r}. Push it.")
        repository.fetch(head)
        content = repository.read_file(head, "delivery.yaml")
        if content is None:
            raise NotFound(f"{project.branches.production} holds no delivery.yaml. Run 'feature-delivery init'.")
        plan = read_delivery_file(content, where=f"delivery.yaml on {project.branches.production}")
    except Error as error:
        return Finding(what, well=False, sentence=str(error))
    return Finding(what, well=True, sentence=f"{len(heads)} branches; suites: {', '.join(plan.suites)}.")


def _freezes(project: ProjectConfig) -> Iterator[Finding]:
    """Say what the calendar means: a window that is over, or a freeze without anybody to override it, is a fault."""
    for one in project.freezes:
        what, at = f"{project.name}: freeze {one.name!r}", datetime.now(UTC)
        found = freeze_at([one], at)
        over = one.once is not None and found is None and one.once[1].replace(tzinfo=ZoneInfo(one.zone)) <= at
        stands = f"on now, until {found.ends}" if found else "over: remove it" if over else "not on now"
        yield Finding(what, well=not over, sentence=f"{one.when} ({one.zone}): {stands}.")
    if project.freezes and not project.people.with_role(Who.OPERATOR):
        said = "Nobody could override a freeze in an emergency: give somebody the role 'operator'."
        yield Finding(f"{project.name}: freezes", well=False, sentence=said)


def _hook(project: ProjectConfig) -> Finding:
    what = f"{project.name}: hook"
    hook = Path(project.repository) / "hooks" / "post-receive"
    if not Path(project.repository).is_dir():
        return Finding(what, well=True, sentence="The repository is elsewhere; its host must send webhooks.")
    well = hook.exists() and os.access(hook, os.X_OK)
    sentence = (
        "Pushes are told at once." if well else "There is no hook: pushes are found by housekeeping only. Run 'up'."
    )
    return Finding(what, well=well, sentence=sentence)


def _instance(home: Path, deferring: Sequence[str]) -> Iterator[Finding]:
    try:
        api = Api(find_login(home, user="admin" if not variables.read("url").url else None))
        health = api.airflow("GET", "/monitor/health")
    except Error as error:
        yield Finding("instance", well=False, sentence=str(error))
        return
    for part in ("metadatabase", "scheduler", "dag_processor"):
        state = str((health.get(part) or {}).get("status"))
        yield Finding(part, well=state == "healthy", sentence=f"{state}.")
    if deferring:
        yield _triggerer(str((health.get("triggerer") or {}).get("status")), deferring)
    broken = api.airflow("GET", "/importErrors")["import_errors"]
    for one in broken:
        last = str(one["stack_trace"]).strip().splitlines()[-1]
        yield Finding("dags", well=False, sentence=f"{one['filename']}: {last}")
    if not broken:
        yield Finding("dags", well=True, sentence="No import error.")
    try:
        names = [project["name"] for project in api.get("/projects")]
    except Error as error:
        yield Finding("web app", well=False, sentence=str(error))
        return
    yield Finding("web app", well=True, sentence=f"Answers; projects: {', '.join(names)}.")
