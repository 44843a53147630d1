"""``rollback --direct``: the same services without Airflow, for when the scheduler or the API server is down.

Only the database must answer. What is done here is in the ledger like anything else: when Airflow comes back, the
feature's run goes on from where production stands now.

An instance is embedded, told by the file that it writes for its Airflow, or on a server, told by its environment.
"""

from __future__ import annotations

import configparser
import os
import re
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from feature_delivery.bootstrap import settings
from feature_delivery.cli.context import user_of_machine
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import person_name
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.ports.runs import RunEnd, RunRef, TaskRef

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from feature_delivery.domain.judging.judge import RankTest
    from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.ledger import Unit
    from feature_delivery.ports.load import Load
    from feature_delivery.ports.measuring import Measuring
    from feature_delivery.ports.platform import Platform
    from feature_delivery.ports.probe import Probe
    from feature_delivery.ports.repository import Repository
    from feature_delivery.ports.tracker import Issues

STEPS = (Step.RESTORE_BRANCH, Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK)

CONFIGURATION = Path("airflow", "airflow.cfg")
"""Where an embedded instance writes down for its Airflow, among other things, which database it has."""
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"

Say = Callable[[str], None]


class DirectRuns:
    """Implements ``Runs`` where nobody schedules: runs are locked in the database, but nothing is steered.

    A gate that is resolved here is ended by the web app when it is back.
    """

    def __init__(self, session: Session, task_instance: str) -> None:
        """``task_instance``: the made up id under which the steps are carried out here."""
        self._session = session
        self._task_instance = task_instance
        self._ours: set[RunRef] = set()

    def lock(self, run: RunRef) -> bool:
        """See ``Runs.lock``: Airflow's own row, so that tasks that live on wait for us."""
        from sqlalchemy import text

        query = text("SELECT id FROM dag_run WHERE dag_id = :dag AND run_id = :run FOR UPDATE")
        found = self._session.execute(query, {"dag": f"feature_delivery_{run.project}", "run": run.run_id}).first()
        if found is not None:
            self._ours.add(run)
        return found is not None

    def conf(self, run: RunRef) -> Mapping[str, object]:
        """Nothing is started here."""
        return {}

    def started_by(self, run: RunRef) -> str:
        """Nothing is started here."""
        return ""

    def start(self, run: RunRef, *, conf: Mapping[str, object], note: str) -> None:
        """Refuse: a run needs Airflow."""
        raise Refused(f"{run.run_id} cannot be started without Airflow.")

    def is_running(self, task: TaskRef) -> bool:
        """Say whether it is one of the steps carried out here."""
        return task.task_instance == self._task_instance

    def is_deferred(self, task: TaskRef) -> bool:
        """Nothing waits as a trigger here."""
        return False

    def states(self, run: RunRef) -> dict[Step, str]:
        """Say that everything is on its way, so that whatever is to be ended is left to the web app.

        Of another run that somebody has ended nothing is: production is not given to one that could not go on.
        """
        from sqlalchemy import text

        query = text("SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run")
        found = self._session.execute(query, {"dag": f"feature_delivery_{run.project}", "run": run.run_id}).first()
        over = run not in self._ours and (found is None or found[0] in {"success", "failed"})
        return {} if over else dict.fromkeys(Step, "queued")

    def end(self, run: RunRef) -> RunEnd | None:
        """Leave it to the web app."""
        return None

    def parked(self, projects: Collection[ProjectName]) -> dict[RunRef, frozenset[Step]]:
        """Leave them to the web app."""
        return {}

    def end_gate(self, run: RunRef, gate: Step) -> bool:
        """Leave it to the web app."""
        return False

    def end_watch(self, run: RunRef) -> bool:
        """Do nothing: what is watched ends by itself."""
        return False

    def shelve(self, run: RunRef, *, until: datetime) -> None:
        """Nothing is scheduled here."""

    def unshelve(self, run: RunRef) -> None:
        """Nothing is scheduled here."""

    def rewind(self, run: RunRef, *, to: Step) -> None:
        """Leave it to the web app."""

    def stop(self, run: RunRef) -> None:
        """Leave it to the web app."""

    def tear_down_again(self, run: RunRef) -> None:
        """Leave it to the web app."""

    def unshelve_stranded(self, projects: Collection[ProjectName]) -> int:
        """Nothing is scheduled here."""
        return 0


class DirectTools:
    """Implements ``Tools`` on this machine, without the web app."""

    def __init__(self, home: Path, project: ProjectConfig) -> None:
        """Make nothing yet."""
        self._home = home
        self.project = project

    @cached_property
    def repository(self) -> Repository:
        """The repository, through a mirror of our own."""
        from feature_delivery.adapters.git.repository import GitRepository  # noqa: PLC0415 - heavy
        from feature_delivery.bootstrap.hosts import git_access  # noqa: PLC0415 - as above

        return GitRepository(
            self.project.repository,
            self._home / "mirrors" / "direct" / f"{self.project.name}.git",
            production=self.project.branches.production,
            candidate_prefix=self.project.branches.candidate_prefix,
            access=git_access(self.project),
        )

    def platform(self, instance: str) -> Platform:
        """Where commits run."""
        from feature_delivery.bootstrap.tools import platform  # noqa: PLC0415 - as above

        return platform(self.project, instance=instance, home=self._home)

    @property
    def tracker(self) -> Issues:
        """Refuse: a rollback tells the tracker through the outbox."""
        raise Refused("The tracker is told when Airflow is back.")

    @cached_property
    def probe(self) -> Probe:
        """How services are looked at."""
        from feature_delivery.adapters.http_probe import HttpProbe  # noqa: PLC0415 - as above

        return HttpProbe()

    @property
    def measuring(self) -> Measuring | None:
        """Nobody: a rollback is not compared with anything."""
        return None

    @property
    def load(self) -> Load:
        """Refuse: no load is put on production."""
        raise Refused("No load is put on production.")

    @property
    def rank_test(self) -> RankTest:
        """Refuse: a rollback is not judged by figures."""
        raise Refused("A rollback is not judged by figures.")


def roll_back_directly(home: Path, *, project: str, key: FeatureKey, comment: str, say: Say) -> None:
    """Take a feature back from production: decide, restore the branch, deploy, test, tell.

    Every step is safe to repeat: after a failure, call it again.

    Raises:
        Refused: The feature has nothing in production, or you may not decide.
        Misconfigured: The instance cannot be found.
        Error: A step failed; production stays locked.
    """
    from feature_delivery.services.work.direct import DirectControl  # noqa: PLC0415 - heavy
    from feature_delivery.services.work.perform import carry_out  # noqa: PLC0415

    _be_of(home)
    config = _project(project, say)
    task_instance = f"direct-{uuid.uuid4()}"
    with database(home) as begin_session:

        @contextmanager
        def begin() -> Iterator[Unit]:
            from feature_delivery.adapters.ledger import SqlBooks  # noqa: PLC0415
            from feature_delivery.ports.ledger import Unit  # noqa: PLC0415

            with begin_session() as session:
                yield Unit(SqlBooks(session, new_instance=claimed_instance(home)), DirectRuns(session, task_instance))

        run = _decide(begin, config, key, comment, say, home=home)
        control = DirectControl(begin, lambda _name: config)
        for step in STEPS:
            say(f"{step} …")
            task = TaskRef(run, step, 1, task_instance)
            carry_out(control, task, DirectTools(home, config), say=say, last_try=True)
    say(f"{key} is rolled back. Its run goes on when Airflow is back.")


def _be_of(home: Path) -> None:
    """Have this process told what the instance's own ones are, so that it finds the same files and Connections.

    Raises:
        Misconfigured: There is no instance.
    """
    told = {"FEATURE_DELIVERY_HOME": str(home)}
    if (home / CONFIGURATION).exists():
        told |= {"FEATURE_DELIVERY_PROJECTS": str(home / "projects"), "AIRFLOW_HOME": str(home / CONFIGURATION.parent)}
        os.environ.pop(DATABASE, None)  # another Airflow's: it would go before this one's file
    elif not os.environ.get(DATABASE):
        raise Misconfigured(
            f"{str(home)!r} holds no instance, and no environment tells of one. Name the one that is meant with "
            "--home; on a server, call this in one of its containers."
        )
    # Connections are in the instance's database, or in this environment, as for its API server.
    os.environ.update(told | {"_AIRFLOW_PROCESS_CONTEXT": "server"})


def _decide(
    begin: Callable[[], AbstractContextManager[Unit]],
    project: ProjectConfig,
    key: FeatureKey,
    comment: str,
    say: Say,
    *,
    home: Path,
) -> RunRef:
    """Write the decision down, unless it has been made before."""
    from feature_delivery.domain.records import PromotionState  # noqa: PLC0415
    from feature_delivery.domain.ways import Way  # noqa: PLC0415
    from feature_delivery.services.control.decide import Say as Word  # noqa: PLC0415
    from feature_delivery.services.control.decide import decide, roll_back_at_hand  # noqa: PLC0415

    with begin() as unit:
        _must_run_here(home, project, unit.books.instance())
        feature = unit.books.feature(project.name, key)
        if feature is None:
            raise NotFound(f"The ledger knows no feature {key} of {project.name}.")
        run = RunRef(project.name, feature.run_id)
        promotion = unit.books.promotion(feature)
        decided = promotion is not None and promotion.state is PromotionState.ROLLING_BACK
        if not decided:
            person, known = _operator(project)
            word = Word(
                person=person,
                gate=Step.WAIT_FOR_VERDICT,
                kind=DecisionKind.ROLL_BACK,
                comment=comment or "Rolled back directly.",
                way=Way.DIRECT,
            )
            answer = (decide if known else roll_back_at_hand)(unit, project, feature.run_id, word)
            if not answer:
                raise Refused(answer.reason)
            say(f"{word.person}: roll back {key}.")
    return run


def _operator(project: ProjectConfig) -> tuple[PersonName, bool]:
    """Return who decides, and whether they are a person of the project who may.

    Whoever can read the database is trusted with it, and recorded as what they are: a user of this machine.
    """
    user = user_of_machine()
    if user in project.people.with_role(*project.people.policies[Step.WAIT_FOR_VERDICT].roles):
        return user, True
    machine = re.sub(r"[^A-Za-z0-9.-]+", "", socket.gethostname())
    return person_name(f"{user}@{machine}"[:80]), False


def _project(wanted: str, say: Say) -> ProjectConfig:
    """Return the project as the instance has it: a file of another one that is wrong stops nothing."""
    found = settings.survey()
    if not wanted and len(found.projects) != 1:
        faults = "".join(f" {fault}" for fault in found.faults.values())
        known = ", ".join(found.projects) or "none"
        raise Misconfigured(
            f"Name the project with --project. Known in {settings.settings().projects}: {known}.{faults}"
        )
    project = settings.project(wanted or next(iter(found.projects)))
    if project.name in found.outdated:
        say(found.outdated[project.name])
    return project


def _must_run_here(home: Path, project: ProjectConfig, instance: str) -> None:
    """Refuse where the shop's processes are those of another container: they would be started a second time.

    An embedded instance is where its home is, whatever the machine is called today.
    """
    from feature_delivery.adapters.platforms.local.marks import machine  # noqa: PLC0415 - as above

    if project.cluster is not None or (home / CONFIGURATION).exists():
        return
    here, there = socket.gethostname(), machine(home / "environments", project.name, instance)
    if there not in {"", here}:
        raise Refused(
            f"The environments of {project.name} are processes of {there}, and this is {here}. Call this there, with "
            f"docker-compose by 'docker compose exec {there} …'."
        )


def claimed_instance(home: Path) -> str:
    """Return the id that processes of this installation are given; empty: none."""
    from feature_delivery.bootstrap.settings import new_instance  # noqa: PLC0415 - as above
    from feature_delivery.cli.embedded.home import Home  # noqa: PLC0415

    embedded = (home / "secrets.json").exists()
    return new_instance() or (Home(home).secrets()["instance"] if embedded else "")


@contextmanager
def database(home: Path) -> Iterator[Callable[[], AbstractContextManager[Session]]]:
    """Reach the database of the instance, which must be up; Airflow need not be.

    It is the one of the home; on a server, whose home names none, that of the environment.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    from feature_delivery.adapters.ledger.session import transactions  # noqa: PLC0415 - heavy

    file = configparser.RawConfigParser()
    file.read(home / CONFIGURATION, encoding="utf-8")
    address = file.get("database", "sql_alchemy_conn", fallback="").replace("%%", "%")
    address = address or os.environ.get(DATABASE, "")
    if not address:
        raise Misconfigured(f"{home} holds no instance: {home / CONFIGURATION} names no database.")
    engine = create_engine(address, connect_args={"connect_timeout": 10})
    try:
        try:
            engine.connect().close()
        except OperationalError as error:
            raise Unavailable(
                f"The database of {str(home)!r} does not answer, and a rollback is nothing without its record. "
                "Start the instance again with the command that started it, or only its PostgreSQL."
            ) from error
        yield transactions(engine)
    finally:
        engine.dispose()
