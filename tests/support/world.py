"""A simulated world around the control plane: scheduler, tasks, Git, platform, people, and a clock of its own.

Every move is small, so that a test can put any other move between any two. What must never happen is checked against
records kept here, from what was really done, and not against what the ledger believes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from feature_delivery.domain import records
from feature_delivery.domain.errors import Permanent, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha, PersonName, ProjectName, feature_key
from feature_delivery.domain.people import DEFAULT_POLICIES, Answer, DecisionKind, Member, Membership, People, Person
from feature_delivery.domain.process import GATES, Step, Who
from feature_delivery.domain.project import Branches, Choices, HostConfig, ProjectConfig, TrackerConfig
from feature_delivery.domain.records import UNDER_WAY, Feature, FeatureState, Promotion
from feature_delivery.domain.work import Result, Work
from feature_delivery.ports.git_host import MergeRequest, RequestState, Review, ReviewKind
from feature_delivery.ports.ledger import Books, Unit
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.control import adoption, ended_runs
from feature_delivery.services.control.attempts import BranchFacts, observe_branch
from feature_delivery.services.control.deadlines import GRACE, expire
from feature_delivery.services.control.decide import Say, cancel, decide
from feature_delivery.services.control.gates import asleep, enter, finish
from feature_delivery.services.control.glass import free_lock, override
from feature_delivery.services.control.production import observe_production
from feature_delivery.services.control.pushers import pushed_by
from feature_delivery.services.control.requests import observe_request
from feature_delivery.services.control.start import Start, start
from tests.fakes.books import FakeBooks
from tests.fakes.repository import FakeRepository
from tests.fakes.runs import DOWNSTREAM, FakeRuns
from tests.support.performing import FakePlaces, Process, process
from tests.support.real_repository import RealRepository
from tests.support.witness import Witness

if TYPE_CHECKING:
    from feature_delivery.ports.repository import Repository

SHOP = ProjectName("shop")
PRODUCTION, PREPROD = BranchName("main"), BranchName("preprod")
STAFF = {
    "dan": Who.DEVELOPER,
    "dora": Who.DEVELOPER,
    "rob": Who.REVIEWER,
    "rita": Who.REVIEWER,
    "tom": Who.TESTER,
    "tina": Who.TESTER,
    "max": Who.MANAGER,
    "mia": Who.MANAGER,
    "olga": Who.OPERATOR,
}
BY_GROUP = ("dora", "rob", "tina", "mia")
"""Who is somebody only by a group, in a project that ``grouped`` returns; the others are in its file."""

BAD = ("red checks", "red preprod", "red production", "bad deploy", "no tests")
"""Contents of files that make a suite or a deploy fail."""

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def shop(choices: Choices | None = None, **people: object) -> ProjectConfig:
    """Return a project in which rita may also accept, so that one person could try two roles."""
    persons = {
        PersonName(name): Person(
            name=PersonName(name),
            roles=frozenset({role} | ({Who.TESTER} if name == "rita" else set())),
            emails=frozenset({f"{name}@example.com"}),
        )
        for name, role in STAFF.items()
    }
    return ProjectConfig(
        name=SHOP,
        title="Shop",
        repository="",
        host=HostConfig(),
        tracker=TrackerConfig(),
        platform="local",
        branches=Branches(production=PRODUCTION, preprod=PREPROD),
        people=replace(People(persons=persons, policies=dict(DEFAULT_POLICIES)), **people),  # type: ignore[arg-type]
        choices=choices or Choices(start_gate=False),
    )


def grouped(project: ProjectConfig) -> ProjectConfig:
    """Return the project with some of its people named by nothing but the groups of a login service, which is away."""
    persons = {name: one for name, one in project.people.persons.items() if name not in BY_GROUP}
    groups = {f"the {role}s": frozenset({role}) for role in Who}
    return replace(project, people=replace(project.people, persons=persons, groups=groups, known=False))


def members(*besides: Member) -> Membership:
    """Return what the login service answers."""
    found = (
        Member(
            name=PersonName(name),
            groups=frozenset({f"the {STAFF[name]}s"}),
            emails=frozenset({f"{name}@example.com"}),
        )
        for name in BY_GROUP
    )
    return Membership((*found, *besides))


def told(project: ProjectConfig, membership: Membership) -> ProjectConfig:
    """Return a ``grouped`` project with what the login service has answered, or not."""
    return replace(project, people=grouped(project).people.with_members(membership))


Outcome = Literal["pass", "fail", "inconclusive", "no_data"]
BeginBooks = Callable[[], AbstractContextManager[Books]]


@dataclass
class World:
    project: ProjectConfig = field(default_factory=shop)
    repository: FakeRepository | RealRepository = field(default_factory=FakeRepository)
    platform: FakePlaces = field(default_factory=FakePlaces)
    runs: FakeRuns = field(default_factory=FakeRuns)
    books: FakeBooks = field(default_factory=FakeBooks)
    begin_books: BeginBooks | None = None
    processes: list[Process] = field(default_factory=list)
    requests: dict[BranchName, MergeRequest] = field(default_factory=dict)
    mail: list[tuple[str, BranchFacts, str]] = field(default_factory=list)
    mishaps: int = 0
    observed: list[Outcome] = field(default_factory=list)
    granted_work: dict[Step, Work] = field(default_factory=dict)
    time: datetime = EPOCH
    log: list[str] = field(default_factory=list)
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        first = self.repository.write({"shop": "v1"}, (), "The shop", "boss@example.com")
        self.repository.branches[PRODUCTION] = self.repository.branches[PREPROD] = first.sha
        self.witness = Witness(self)
        self.runs.before_rewind = self.witness.before_rewind
        records.time_source = lambda: self.time

    @property
    def everybody(self) -> People:
        """Everybody, whether the login service says so now or not."""
        people = self.project.people
        return people if people.known else told(self.project, members()).people

    def close(self) -> None:
        records.time_source = records.system_time

    def say(self, text: str) -> None:
        self.log.append(text)

    # Transactions.

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        """Open a transaction over ledger and runs; an exception takes both back."""
        self.time += timedelta(seconds=1)
        self.runs.locked.clear()
        undo_runs = self.runs.snapshot()
        try:
            if self.begin_books is not None:
                with self.begin_books() as books:
                    yield Unit(books, self.runs)
            else:
                undo = self.books.snapshot()
                try:
                    yield Unit(self.books, self.runs)
                    self.books.check()
                except BaseException:
                    undo()
                    raise
        except BaseException:
            undo_runs()
            raise

    @contextmanager
    def peek(self) -> Iterator[Books]:
        if self.begin_books is None:
            yield self.books
            return
        with self.begin_books() as books:
            yield books

    def try_(self, what: str, act: Callable[[Unit], object]) -> bool:
        """Do something that may be refused with a sentence; nothing else may go wrong."""
        try:
            with self.begin() as unit:
                act(unit)
        except Permanent as error:
            self.say(f"{what}: refused: {error}")
            return False
        except Unavailable as error:
            if self.project.people.known:
                raise
            self.say(f"{what}: not now: {error}")
            return False
        self.say(what)
        return True

    def features(self, *states: FeatureState) -> list[Feature]:
        with self.peek() as books:
            return sorted(books.features(SHOP, states), key=lambda f: f.id)

    # The scheduler and the workers.

    def schedule(self) -> bool:
        """Let the scheduler go once over all runs; queued tasks start."""
        changed = False
        for ref, run in self.runs.runs.items():
            while self.runs.schedule(ref):
                changed = True
            for step, task in run.tasks.items():
                if task.state == "queued":
                    self.processes.append(process(self, self.runs.begin(ref, step)))
                    changed = True
        return changed

    def advance(self, index: int) -> None:
        """Let one process make one move."""
        found = self.processes[index % len(self.processes)]
        if not self.runs.is_running(found.task):
            found.zombie = True
        found.at = next(found.moves, "")
        self.say(f"{found.task.run.run_id} {found.task.step} try {found.task.try_number}: {found.at or 'over'}")
        if not found.at:
            self.processes.remove(found)

    def kill(self, index: int, *, again: bool, lives_on: bool) -> None:
        """Kill a running task; its process may live on for a while."""
        found = self.processes[index % len(self.processes)]
        self.say(f"{found.task.run.run_id} {found.task.step} is killed {'and retried' if again else ''}")
        if again:
            self.runs.retry(found.task)
        else:
            self.runs.report(found.task, "failed")
        found.zombie = True
        if not lives_on:
            self.processes.remove(found)

    def run(self, rounds: int = 400) -> None:
        """Let everything go on until nothing moves any more."""
        for _ in range(rounds):
            moved = self.schedule()
            while self.processes:
                self.advance(0)
                moved = True
            moved = self.finish() or moved
            if not moved:
                return
        raise AssertionError("the world does not come to rest:\n" + "\n".join(self.log[-60:]))

    def finish(self) -> bool:
        """Do what the web app does after each commit, and housekeeping behind it."""
        with self.peek() as books:
            left = {books.feature_by_id(gate.feature_id).run_id for gate in books.gates_to_end()}
        with self.begin() as unit:
            left |= {run.run_id for run in asleep(unit, [SHOP])}
        before = self._pending()
        for run_id in sorted(left):
            with self.begin() as unit:
                finish(unit, self.project, run_id)
        with self.begin() as unit:
            unit.runs.unshelve_stranded([SHOP])
        return self._pending() != before

    def _pending(self) -> object:
        with self.peek() as books:
            return [gate.id for gate in books.gates_to_end()], [
                (ref.run_id, run.shelved, [t.state for t in run.tasks.values()]) for ref, run in self.runs.runs.items()
            ]

    # What tasks ask of the world.

    def mishap(self, task: TaskRef) -> bool:
        if self.mishaps and task.step is not Step.DELETE_BRANCHES:
            self.mishaps -= 1
            return True
        return False

    def observation(self) -> Outcome:
        return self.observed.pop() if self.observed else "pass"

    def granted(self, task: TaskRef, work: Work) -> None:
        self.granted_work[task.step] = work
        self.witness.granted(task, work)

    def reported(self, task: TaskRef, work: Work, result: Result) -> None:
        self.witness.reported(task, work, result)

    def suite_ran(self, step: Step, commit: CommitSha, *, red: bool) -> None:
        self.witness.suite_ran(step, commit, red=red)

    def promoted(self, work: Work) -> None:
        self.witness.promoted(work)

    def restored(self, work: Work, commit: CommitSha) -> None:
        self.witness.restored(work, commit)

    def before_destroy(self, work: Work) -> None:
        self.witness.before_destroy(work)

    def check_row(self, work: Work) -> None:
        self.witness.row_is_written(work)

    # Developers and the Git host.

    def start(self, key: str, branch: str = "") -> None:
        asked = Start(key=feature_key(key), title="A feature", branch=BranchName(branch) if branch else None)
        self.try_(f"start {key}", lambda unit: start(unit, self.project, asked))

    def push(
        self,
        branch: BranchName,
        *,
        who: str = "dan",
        content: str = "",
        path: str = "",
        force: bool = False,
        on: CommitSha | None = None,
    ) -> CommitSha:
        """Push a commit; with ``force`` it replaces everything the branch held beyond production, or beyond ``on``."""
        production = self.repository.branches[PRODUCTION]
        address = who if "@" in who else f"{who}@example.com"
        parent = on or (production if force else self.repository.branches.get(branch, production))
        files = dict(self.repository.files(parent))
        if not content:  # a good commit mends what bad ones left behind, in production too
            files = {name: text if text not in BAD else "mended" for name, text in files.items()}
        files[path or branch] = content or f"change {next(self.counter)}"
        made = self.repository.write(files, (parent,), f"Change {branch} {next(self.counter)}", address)
        self.repository.branches[branch] = made.sha
        self.say(f"{who} pushes {made.sha[:10]} to {branch}")
        return made.sha

    def look(self, feature: Feature, pusher: str = "") -> None:
        """Ask the host where a branch is; the answer is told later, perhaps after newer ones, perhaps twice."""
        if feature.branch is None:
            return
        head = self.repository.branches.get(feature.branch)
        ahead = self.repository.ahead(head, self.repository.branches[PRODUCTION]) if head else ()
        facts = BranchFacts(
            head=head,
            listing_has_production=True,
            ahead=bool(ahead),
            emails=frozenset(email for commit in ahead for email in commit.authors),
            seen_at=self.time,
        )
        self.mail.append((feature.run_id, facts, pusher))

    def tell(self, index: int, *, keep: bool = False) -> None:
        run_id, facts, pusher = self.mail[index % len(self.mail)] if keep else self.mail.pop(index % len(self.mail))

        def act(unit: Unit) -> None:
            feature = enter(unit, self.project, run_id)
            pushed_by(unit, self.project, feature, [pusher])
            self.say(f"{run_id}: {observe_branch(unit, self.project, feature, facts)}")

        self.try_(f"tell {run_id} of {str(facts.head)[:10]}", act)

    def observe(self, feature: Feature) -> None:
        """Reconcile one feature: its branch, its merge request, production."""
        if feature.branch is None:
            return
        self.look(feature)
        self.tell(len(self.mail) - 1)
        request = self.requests.get(feature.branch)
        self.try_("requests", lambda unit: observe_request(unit, self.project, feature.run_id, request))

    def observe_production(self) -> None:
        """Ask where production is and take it in at once: nothing comes between."""
        with self.peek() as books:
            row = books.project(SHOP)
            known = row.production_commit if row else None
        head = self.repository.branches[PRODUCTION]
        self.try_("production", lambda unit: observe_production(unit, self.project, head, known=known))

    def open_request(self, feature: Feature, author: str = "dan") -> None:
        if feature.branch is None or feature.branch not in self.repository.branches:
            return
        self.requests[feature.branch] = MergeRequest(
            number=next(self.counter),
            source=feature.branch,
            target=PREPROD,
            head=self.repository.branches[feature.branch],
            author=author,
            title="A feature",
            state=RequestState.OPEN,
            url="",
        )

    def review(self, feature: Feature, person: str, kind: ReviewKind) -> None:
        request = self.requests.get(feature.branch) if feature.branch else None
        if request is None or request.source not in self.repository.branches:
            return
        head = self.repository.branches[request.source]
        word = Review(person=person, kind=kind, commit=head, comment="I read it.", at=self.time)
        others = tuple(r for r in request.reviews if r.person != person)
        self.requests[request.source] = replace(request, head=head, reviews=(*others, word))
        if kind is ReviewKind.APPROVE:
            self.witness.reviews.add((person, head))

    def hotfix(self, path: str = "hotfix") -> None:
        """Somebody pushes to production by hand."""
        head = self.repository.branches[PRODUCTION]
        files = dict(self.repository.files(head)) | {path: f"hotfix {next(self.counter)}"}
        self.repository.branches[PRODUCTION] = self.repository.write(files, (head,), "Hotfix", "olga@example.com").sha
        self.say("a hotfix is on production")

    # People.

    def decide(
        self,
        feature: Feature,
        person: str,
        gate: Step,
        kind: DecisionKind,
        *,
        commit: CommitSha | None = None,
        candidate: CommitSha | Literal[""] | None = None,
    ) -> bool:
        say = Say(
            person=PersonName(person), gate=gate, kind=kind, comment="Because.", commit=commit, candidate=candidate
        )
        yes = False

        def act(unit: Unit) -> None:
            nonlocal yes
            answer = decide(unit, self.project, feature.run_id, say)
            yes = answer.yes
            self.say(f"{feature.run_id} {person} {kind} at {gate}: {answer.yes} {answer.reason}")
            current = unit.books.feature_by_id(feature.id)
            if answer and kind is DecisionKind.APPROVE:
                self.witness.approvals.add((feature.run_id, current.attempt_number, gate, person))

        self.try_("decide", act)
        if yes and kind is DecisionKind.KEEP:
            self.witness.kept(feature)
        return yes

    def override(
        self, feature: Feature, gate: Step, kind: DecisionKind, *, by: str = "olga", why: str = "It burns."
    ) -> Answer:
        """Somebody breaks glass."""
        say = Say(person=PersonName(by), gate=gate, kind=kind, comment=why, address="192.0.2.7")
        with self.begin() as unit:
            answer = override(unit, self.project, feature.run_id, say)
            if answer:
                number = unit.books.feature_by_id(feature.id).attempt_number
                self.witness.overridden.add((feature.run_id, number, gate))
        self.say(f"{feature.run_id} {by} breaks glass at {gate}: {answer.yes} {answer.reason}")
        return answer

    def cancel(self, feature: Feature) -> bool:
        return self.try_(
            f"cancel {feature.key}", lambda unit: cancel(unit, self.project, feature.run_id, "", person="max")
        )

    def _free_lock(self, unit: Unit) -> None:
        if not (answer := free_lock(unit, self.project, "It hangs.", person=PersonName("olga"))):
            raise Refused(answer.reason)

    def break_lock(self) -> bool:
        with self.peek() as books:
            row = books.project(SHOP)
            holder = row.lock_feature_id if row else None
        done = self.try_("break lock", self._free_lock)
        if done and holder:
            self.witness.broken.add(holder)
        return done

    def adopt(self) -> bool:
        """Adopt what is there; of what is called taken back by that, production must not hold the whole."""
        head, repository = self.repository.branches[PRODUCTION], cast("Repository", self.repository)
        with self.begin() as unit:
            held = adoption.look(repository, head, adoption.in_doubt(unit, self.project))

        def act(unit: Unit) -> None:
            self.say(adoption.adopt(unit, self.project, head, person=PersonName("olga"), held=held))

        done = self.try_("adopt", act)
        if done:
            self.witness.adopted(head)
        return done

    def put_back(self, pick: int) -> None:
        """Somebody in a hurry puts production back by force, to where it was some commits ago."""
        head = self.repository.branches[PRODUCTION]
        line = [head]
        while parents := self.repository.commit(line[-1]).parents:
            line.append(parents[0])
        to = line[min(1 + pick % 3, len(line) - 1)]
        self.repository.branches[PRODUCTION] = to
        self.say(f"production is put back from {head[:10]} to {to[:10]}")

    def wait(self, by: timedelta) -> None:
        """Let time pass, and deadlines with it."""
        self.time += by
        at = self.time + (timedelta(0) if self.project.people.known else GRACE)
        with self.peek() as books:
            late = {books.feature_by_id(gate.feature_id).run_id for gate in books.gates_past_deadline(at)}
        for run_id in sorted(late):
            self.try_(f"deadline of {run_id}", partial(expire, project=self.project, run_id=run_id))
            self.witness.decided(run_id)

    def clear(self, feature: Feature, step: Step, *, with_downstream: bool = True) -> None:
        """Clear by hand in Airflow's page; the listener brings the run back from the shelf."""
        ref = RunRef(SHOP, feature.run_id)
        self.say(f"{feature.run_id} {step} is cleared{' with all after it' if with_downstream else ''}")
        self.runs.clear(ref, *(DOWNSTREAM[step] if with_downstream else {step}))
        self.runs.unshelve(ref)

    def mark(self, feature: Feature, step: Step, state: str) -> None:
        ref = RunRef(SHOP, feature.run_id)
        self.say(f"{feature.run_id} {step} is marked {state}")
        self.runs.mark(ref, step, state)
        self.runs.unshelve(ref)

    def mark_run(self, feature: Feature, state: str) -> None:
        """End the whole run by hand in Airflow's page."""
        ref = RunRef(SHOP, feature.run_id)
        self.say(f"{feature.run_id} is marked {state}")
        self.runs.mark_run(ref, state)
        self.runs.unshelve(ref)

    def tell_of_ended_runs(self) -> list[str]:
        """Do what housekeeping does about runs that were ended by hand; returns of which people were told."""
        told = []
        for feature in self.features(*UNDER_WAY):
            with self.begin() as unit:
                if ended_runs.tell(unit, self.project, feature.run_id):
                    told.append(feature.run_id)
        return told

    def promotion(self, feature: Feature) -> Promotion | None:
        """Return the feature's newest promotion, as the ledger has it now."""
        with self.peek() as books:
            return books.promotion(feature)

    def parked(self, feature: Feature) -> list[Step]:
        states = self.runs.states(RunRef(SHOP, feature.run_id))
        return [step for step in Step if step in GATES and states[step] == "awaiting_input"]
