"""The simulated world with a Git host and a tracker that are outside: people act there, the control plane looks."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from feature_delivery.domain.names import feature_key
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.process import gate as gate_named
from feature_delivery.domain.project import Choices, HostConfig, ProjectConfig, TrackerConfig
from feature_delivery.domain.records import Feature
from feature_delivery.ports.git_host import ReviewKind
from feature_delivery.services.control import outbox
from feature_delivery.services.control.messages import Places
from feature_delivery.services.control.outside import Control, Outside
from feature_delivery.services.control.reconcile import reconcile
from feature_delivery.services.control.under_way import UnderWay
from tests.fakes.git_host import PEOPLE, FakeGitHost, Page
from tests.fakes.messenger import FakeMessenger
from tests.fakes.tracker import FakeTracker
from tests.support.cooperation import bring, now_of
from tests.support.world import PREPROD, World, shop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.hints import Hint
    from feature_delivery.domain.names import BranchName
    from feature_delivery.ports.messenger import Messenger
    from feature_delivery.ports.repository import Repository

STAFF = frozenset({"dan", "dora", "rob", "rita", "tom", "tina", "max", "mia", "olga"})


def outside_shop(**choices: object) -> ProjectConfig:
    """Return the shop with its requests on a real kind of host, and its issues in a real kind of tracker."""
    chosen = Choices(**{"start_gate": False, **choices})  # type: ignore[arg-type]
    return replace(
        shop(chosen),
        host=HostConfig(kind="github", connection="github", repository="shop/cart", labels=("delivery",)),
        tracker=TrackerConfig(kind="github", connection="github", project="shop/cart", prefix="SHOP"),
    )


def at_once() -> UnderWay:
    """Return a process that does one errand after the other: the world's clock is nobody's but its own."""
    return UnderWay(spawn=lambda work: work())


@dataclass
class Stage(World):
    """``reconcile`` is what housekeeping or a webhook does, ``errands`` what the outbox's worker does."""

    project: ProjectConfig = field(default_factory=outside_shop)
    host: FakeGitHost = field(init=False)
    tracker: FakeTracker = field(default_factory=lambda: FakeTracker(people=STAFF))
    messages: FakeMessenger = field(default_factory=FakeMessenger)
    channels: dict[str, Messenger] = field(default_factory=dict)
    task_log: list[str] = field(default_factory=list)
    under_way: UnderWay = field(default_factory=at_once)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.host = FakeGitHost(lambda: self.repository.branches, people=PEOPLE | STAFF)

    @property
    def control(self) -> Control:
        outside = Outside(
            repository=cast("Repository", self.repository),
            host=self.host,
            tracker=self.tracker,
            messenger=self.messages,
        )
        return Control(
            begin=self.begin,
            project=lambda _: self.project,
            outside=lambda _: outside,
            alone=lambda _: nullcontext(),
            page=lambda project, run_id: f"https://airflow.example/dags/{project.dag_id}/runs/{run_id}",
            channel=lambda _project, name: self.channels[name],
            places=Places(
                board=lambda project, key: f"https://board.example/{project.name}/{key}",
                task=lambda _project, run_id, step: f"https://airflow.example/{run_id}/{step}",
            ),
            log=lambda *_about: tuple(self.task_log),
            under_way=self.under_way,
        )

    def reconcile(self, hints: Sequence[Hint] | None = None) -> list[str]:
        """Look at host and tracker, then let everything run that this sets going."""
        self.time += timedelta(minutes=1)
        found = reconcile(self.control, self.project, hints)
        self.run()
        return found

    def errands(self, *, rounds: int = 30) -> None:
        """Run the outbox until nothing is due any more."""
        for _ in range(rounds):
            self.time += timedelta(seconds=2)
            outbox.drain(self.control)
            if not any(self._due(entry) for entry in self.books.of(OutboxEntry)):
                self.run()
                return
        raise AssertionError("the outbox does not come to rest")

    def _due(self, entry: OutboxEntry) -> bool:
        return entry.sent_at is None and entry.due_at <= self.time + timedelta(seconds=2)

    def settle(self) -> None:
        """Look and run errands until both are content."""
        for _ in range(4):
            self.reconcile()
            self.errands()

    def start(self, key: str, branch: str = "") -> None:
        """Start a feature whose issue is there."""
        self.tracker.kept.get(feature_key(key)) or self.tracker.given(feature_key(key))
        super().start(key, branch)

    # What the world's people do on its own host, they do on this one.

    def open_request(self, feature: Feature, author: str = "dan") -> None:
        self.opened(feature, by=author)

    def opened(self, feature: Feature, *, by: str = "dan", target: BranchName = PREPROD, fork: bool = False) -> Page:
        """Open a request in the host's page."""
        assert feature.branch is not None
        return self.host.open(feature.branch, target, by=by, fork=fork)

    def observe(self, feature: Feature) -> None:
        del feature
        self.reconcile()

    def at(self, gate: Step, key: str = "SHOP-1") -> Feature:
        """Bring a feature to a gate, with its errands done."""
        bring(self, key, gate)
        self.errands()
        return self.feature(key)

    def feature(self, key: str = "SHOP-1") -> Feature:
        """Return the newest delivery of an issue, as the ledger has it now."""
        return now_of(self, [f for f in self.features() if f.key == key][-1])

    def page(self, key: str = "SHOP-1") -> Page:
        """Return the page of the feature's request."""
        number = self.feature(key).request_number
        assert number is not None
        return self.host.pages[number]

    def word(self, person: str, kind: ReviewKind, comment: str = "I read it.", key: str = "SHOP-1") -> None:
        """Review the feature's request."""
        number = self.page(key).request.number
        self.host.review(number, person, kind, comment)
        if kind is ReviewKind.APPROVE:
            self.witness.reviews.add((person, self.host.head(number)))

    def write(self, person: str, text: str, key: str = "SHOP-1") -> None:
        """Write a comment on the feature's request, a while after whatever was before."""
        self.time += timedelta(seconds=2)
        self.host.write(self.page(key).request.number, person, text)
        verb, _, rest = text.partition(" ")
        feature = self.feature(key)
        for gate in [gate_named(rest.split()[0])] if rest else self.parked(feature):
            if verb == "/approve" and gate is not None:
                self.witness.approvals.add((feature.run_id, feature.attempt_number, gate, person))

    def kinds(self, key: str = "SHOP-1") -> list[str]:
        """Return the kinds of events of a feature."""
        return [event.kind for event in self.books.events(self.feature(key))]

    def pending(self, kind: Errand) -> list[OutboxEntry]:
        """Return the errands of a kind, sent or not."""
        return [entry for entry in self.books.of(OutboxEntry) if entry.kind is kind]
