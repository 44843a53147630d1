"""The ledger: our own record of features, attempts, decisions, environments, deployments, webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from feature_delivery.domain.installation import Installation
    from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName, TreeSha
    from feature_delivery.domain.outbox import OutboxEntry, Post, Side
    from feature_delivery.domain.process import Step
    from feature_delivery.domain.records import (
        Alert,
        Attempt,
        Brake,
        CandidateRecord,
        Decision,
        Deployment,
        Environment,
        Event,
        Feature,
        FeatureState,
        Gate,
        HeardComment,
        KeptLooks,
        Observation,
        PermitRecord,
        Project,
        Promotion,
        PromotionState,
        QueuePlace,
        SuiteResult,
        WebhookDelivery,
        WebhookState,
    )
    from feature_delivery.ports.runs import Runs

    Record = (
        Project
        | Feature
        | Attempt
        | CandidateRecord
        | Environment
        | Deployment
        | SuiteResult
        | Observation
        | KeptLooks
        | Gate
        | Decision
        | HeardComment
        | PermitRecord
        | Promotion
        | QueuePlace
        | WebhookDelivery
        | OutboxEntry
        | Post
        | Alert
        | Event
        | Brake
    )


class Books(Protocol):
    """The ledger inside one transaction; changed records are stored at its end.

    Lock order, everywhere: the run (``Runs.lock``), then the project (``lock_project``). Everything that changes a
    feature holds its project's lock, so the rules never race; transactions are short and call nobody outside.
    """

    def instance(self) -> str:
        """Return the id of this installation, made up at its first use."""

    def installation(self) -> Installation:
        """Return whose ledger this is, and where it is now."""

    def settle(self, instance: str) -> None:
        """Note that the ledger belongs to ``instance``, here, and that whoever works with it now speaks for it."""

    def contest(self, why: str) -> None:
        """Note that another control plane of the instance works beside this one; ``settle`` ends it."""

    def new_mark(self, project: ProjectName, mark: str) -> Sequence[str]:
        """Note a mark that is about to be left; returns those that may be found where it is left, newest first."""

    def mark_left(self, project: ProjectName, mark: str) -> None:
        """Forget the marks before one that has been left."""

    def is_our_mark(self, project: ProjectName, mark: str) -> bool:
        """Say whether this ledger made a mark up and has not forgotten it."""

    def brake(self, project: ProjectName) -> Brake | None:
        """Return the project's brake that is on."""

    def brakes(self, project: ProjectName | None = None, *, limit: int = 100) -> Sequence[Brake]:
        """Return brakes, newest first, released ones included."""

    def lock_project(self, name: ProjectName) -> Project:
        """Return the project's row, locked until the end of the transaction; created when new."""

    def project(self, name: ProjectName) -> Project | None:
        """Return the project's row, not locked."""

    def add(self, record: Record) -> None:
        """Store a new record; its ``id`` is set at once."""

    def feature(self, project: ProjectName, key: FeatureKey) -> Feature | None:
        """Return the newest delivery of an issue."""

    def feature_of_run(self, project: ProjectName, run_id: str) -> Feature | None:
        """Return the feature that a run carries."""

    def feature_by_id(self, feature_id: int) -> Feature:
        """Return a feature that is known to exist."""

    def features_by_id(self, feature_ids: Collection[int]) -> dict[int, Feature]:
        """Return features by their number; one query, however many."""

    def features(
        self,
        project: ProjectName | None = None,
        states: Iterable[FeatureState] = (),
        *,
        limit: int | None = None,
        before: int | None = None,
    ) -> Sequence[Feature]:
        """Return features, newest first, ``limit`` at most, with a smaller id than ``before``; no state: all."""

    def newest_features(self, project: ProjectName, keys: Collection[FeatureKey]) -> dict[FeatureKey, Feature]:
        """Return the newest delivery of each of these issues that has one; one query, however many."""

    def attempt(self, feature: Feature, number: int | None = None) -> Attempt | None:
        """Return an attempt, the current one by default."""

    def attempts(self, feature: Feature) -> Sequence[Attempt]:
        """Return the attempts of a feature, oldest first."""

    def candidate(self, feature: Feature, attempt: int) -> CandidateRecord | None:
        """Return the newest candidate of an attempt."""

    def candidates_of(self, commit: CommitSha) -> Sequence[CandidateRecord]:
        """Return every record of a candidate commit, newest first."""

    def environment(self, project: ProjectName, name: str) -> Environment | None:
        """Return the newest environment of that name."""

    def environments_named(self, project: ProjectName, names: Collection[str]) -> dict[str, Environment]:
        """Return the newest environment of each name that there is one of; one query, however many."""

    def environments(self, project: ProjectName | None = None, feature: Feature | None = None) -> Sequence[Environment]:
        """Return environments that are not destroyed, oldest first."""

    def deployment(self, environment: Environment) -> Deployment | None:
        """Return the newest deployment of an environment."""

    def deployments(self, feature: Feature) -> Sequence[Deployment]:
        """Return the deployments of a feature, oldest first."""

    def suite_result(self, feature: Feature, attempt: int, step: Step) -> SuiteResult | None:
        """Return the newest result of a suite's step in an attempt."""

    def suite_results(self, feature: Feature) -> Sequence[SuiteResult]:
        """Return every suite result of a feature, oldest first; each report is read when it is looked at."""

    def observation(self, feature: Feature, attempt: int, step: Step) -> Observation | None:
        """Return the newest observation of a step in an attempt."""

    def load_in_production(self, project: ProjectName) -> Observation | None:
        """Return what the load found of the release that was kept last, before it shipped."""

    def looks(self, feature: Feature, permit_id: int) -> Sequence[KeptLooks]:
        """Return the looks that were kept of one watch, in the order in which they came."""

    def forget_looks(self, feature: Feature, *, but: int = 0) -> None:
        """Forget the looks of a feature's watches, but those of one permit."""

    def prune_looks(self, *, before: datetime) -> int:
        """Forget the looks that were kept before then, whosever they are; returns how many rows."""

    def executed_in_production(self, project: ProjectName) -> dict[str, int]:
        """Return, per suite, the tests executed by the last green run on code that was shipped and kept."""

    def gate(self, feature: Feature, step: Step) -> Gate | None:
        """Return the newest record of a gate."""

    def gates(self, feature: Feature) -> Sequence[Gate]:
        """Return every gate record of a feature, oldest first."""

    def open_gate(self, feature: Feature) -> Gate | None:
        """Return the gate the feature waits at, if any."""

    def gates_to_end(self) -> Sequence[Gate]:
        """Return gates of which something is left to end: a parked task, or a rewind that waits for the parking."""

    def gates_past_deadline(self, at: datetime) -> Sequence[Gate]:
        """Return open gates whose deadline has passed."""

    def open_gates(self, project: ProjectName | None = None) -> Sequence[Gate]:
        """Return the open gates, of a project or of all."""

    def gates_to_ask(self, steps: Collection[Step]) -> Sequence[Gate]:
        """Return the open gates of ``steps`` that nothing keeps from a decision and that nobody was asked about yet."""

    def open_gates_blocked(self, beginning: str) -> Sequence[Gate]:
        """Return the open gates before which something failed, where what failed begins so."""

    def said(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Decision, Feature]]:
        """Return the decisions of a project with their features, the newest first, refused ones included.

        ``before``: only rows with a smaller id: what a page that was full has left.
        """

    def happened(
        self, project: ProjectName, *, since: datetime | None, limit: int, before: int | None = None
    ) -> Sequence[tuple[Event, Feature | None]]:
        """Return what has happened in a project, the newest first, each with the feature it is about; as ``said``."""

    def decisions(self, feature: Feature, attempt: int | None = None) -> Sequence[Decision]:
        """Return decisions, oldest first, refused ones included; of one attempt when named."""

    def heard(self, project: ProjectName, comment: str) -> HeardComment | None:
        """Return the command that a comment gave, by the host's id of the comment."""

    def permit(self, permit_id: int) -> PermitRecord | None:
        """Return a permit by its number."""

    def permits(self, feature: Feature) -> Sequence[PermitRecord]:
        """Return every permit of a feature, oldest first."""

    def at_work(self, feature_ids: Collection[int], steps: Collection[Step]) -> frozenset[int]:
        """Return which of the features have a permit for one of the steps that has not ended; one query."""

    def promotion(self, feature: Feature, attempt: int | None = None) -> Promotion | None:
        """Return the newest promotion of a feature, or of one of its attempts."""

    def promotions(
        self,
        project: ProjectName,
        key: FeatureKey | None = None,
        *,
        tree: TreeSha | None = None,
        states: Collection[PromotionState] = (),
    ) -> Sequence[Promotion]:
        """Return the promotions of a project, oldest first: a shop that ships ten a day has thousands.

        Args:
            project: Whose.
            key: Only those of every delivery of this issue.
            tree: Only those of these files.
            states: Only those in one of these; empty: in any.
        """

    def queue(self, project: ProjectName) -> Sequence[QueuePlace]:
        """Return the queue for production, first come first."""

    def leave_queue(self, feature: Feature) -> None:
        """Take the feature out of the queue; not being in it is done."""

    def feature_branches(self, project: ProjectName) -> dict[BranchName, CommitSha]:
        """Return the branch and current commit of every active feature that has both."""

    def webhook(self, project: ProjectName, delivery_id: str) -> WebhookDelivery | None:
        """Return a webhook by the id its host gave it."""

    def webhooks_to_process(self, limit: int = 100) -> Sequence[WebhookDelivery]:
        """Return stored webhooks that wait, those looked into least often first, of these the oldest.

        Rows that another process holds are passed over. A project whose host is down keeps no other waiting.
        """

    def webhook_by_id(self, project: ProjectName, webhook_id: int) -> WebhookDelivery | None:
        """Return a webhook by its number in the ledger."""

    def webhooks(
        self, project: ProjectName, *, state: WebhookState | None = None, before: int | None = None, limit: int = 100
    ) -> Sequence[WebhookDelivery]:
        """Return the webhooks of a project, newest first, those with a number below ``before``."""

    def webhook_counts(self, project: ProjectName) -> Mapping[WebhookState, int]:
        """Return how many webhooks of a project are kept, by their state."""

    def webhooks_ignored(self, project: ProjectName) -> Mapping[str, int]:
        """Return how many webhooks of a project were not for us, by the reason, the most frequent first."""

    def prune_webhooks(self, *, bodies_before: datetime, rows_before: datetime) -> int:
        """Empty the bodies and headers of processed webhooks received before then, and forget those older still.

        Returns how many rows were changed or forgotten.
        """

    def tally(
        self,
        project: ProjectName,
        name: str,
        first: str,
        second: str,
        *,
        place: int = 0,
        count: int = 1,
        total: float = 0.0,
    ) -> None:
        """Add to a count that only grows; others who add to the same one wait for the end of this transaction."""

    def outbox_due(self, at: datetime, limit: int = 50, *, besides: Collection[Side] = ()) -> Sequence[OutboxEntry]:
        """Return unsent entries that are due, those tried least first, then the longest due, but of ``besides``.

        Rows that another process holds are passed over; of each lane of a feature there is only the oldest.
        """

    def outbox_keep(self, numbers: Collection[int], *, before: datetime, until: datetime, said: str) -> None:
        """Make these entries due ``until`` that are due ``before``; ``said`` is the error of those that have none."""

    def outbox_marked(self, project: ProjectName, marker: str) -> OutboxEntry | None:
        """Return the entry of a marker as it is now, locked until the end of the transaction."""

    def outbox_next(self, *, besides: Collection[Side] = ()) -> datetime | None:
        """Return when the next entry is due that ``outbox_due`` will give, but of ``besides``; it may be past.

        What waits in a lane behind another counts for nothing: however long it is due, it is not given before that one.
        """

    def outbox_postpone(self, project: ProjectName, lane: str, until: datetime) -> None:
        """Make nothing of a project's lane due before ``until``, whatever feature it is about."""

    def posted_between(self, project: ProjectName, channel: str, after: datetime, before: datetime) -> bool:
        """Say whether a message is in a channel that was about to be sent after ``after``, up to ``before``."""

    def outbox(self, feature: Feature) -> Sequence[OutboxEntry]:
        """Return every entry of a feature, oldest first."""

    def posts_open(self, feature: Feature, channel: str) -> Sequence[Post]:
        """Return messages of a feature in a channel that say something which may be over one day, oldest first."""

    def signed_otherwise(self, project: ProjectName, channel: str, signer: str) -> Sequence[Feature]:
        """Return features under way with open messages in a channel that ``signer`` has not signed; not all at once."""

    def post(self, project: ProjectName, channel: str, marker: str) -> Post | None:
        """Return a message in a channel."""

    def alert(self, alert_id: int) -> Alert | None:
        """Return an alert by its number."""

    def alerts_open(self, feature: Feature) -> Sequence[Alert]:
        """Return the alerts of a feature that are open, oldest first."""

    def events(self, feature: Feature) -> Sequence[Event]:
        """Return a feature's history, oldest first."""


class Unit(NamedTuple):
    """One transaction over the ledger and the runs: both change together or not at all."""

    books: Books
    runs: Runs
