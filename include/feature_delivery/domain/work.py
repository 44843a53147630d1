"""What travels between the control plane and a task: the work a permit allows, and the result that comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from feature_delivery.domain.judging.findings import Judgement
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, ProjectName, TreeSha
from feature_delivery.domain.process import Step
from feature_delivery.domain.watching import Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateWork:
    """The candidate of the attempt, as the ledger knows it."""

    commit: CommitSha
    tree: TreeSha
    base: CommitSha
    feature: CommitSha
    integration_green: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentWork:
    """The environment a step may write to, with the generation this permit is worth."""

    instance: str
    name: str
    kind: str
    generation: int
    address: str
    shared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionWork:
    """The promotion in question: what production was, what it became, what it went back to."""

    before: CommitSha
    candidate: CommitSha
    restored: CommitSha | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastWork:
    """An earlier promotion of the same feature that was rolled back."""

    before: CommitSha
    candidate: CommitSha
    restored: CommitSha


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A permit, as the task gets it: everything the step needs, in one round trip.

    Attributes:
        permit: Number of the permit; the result names it.
        production_commit: What the ledger believes production is at; anything else there is foreign.
        executed_in_production: Tests the last green run of each suite executed on production's code.
        branch_leases: Branches that teardown deletes, each only while it is at this commit.
        own_branches: Branches that teardown deletes wherever they are: nobody else writes to them.
        verdict: At ``decide_rollback``: ``keep`` or ``roll_back``.
        baseline: Production before the promotion, where it was measured and is to be compared with.
        preprod: At ``observe``: how the load on the candidate was judged.
        production_address: Where production answers, before a promotion.
        bad_times: Before a promotion: since and until when production ran what was rolled back, epoch seconds.
        done: The effect is known to have happened already; the task only confirms it.
        claim: To be left where the project runs before anything is changed there.
    """

    permit: int
    project: ProjectName
    step: Step
    key: FeatureKey
    delivery: int
    title: str
    description: str
    requester: str
    branch: BranchName | None
    attempt: int
    commit: CommitSha | None
    issue_url: str
    request_number: int | None
    other_branches: dict[BranchName, CommitSha] = field(default_factory=dict)
    production_commit: CommitSha | None = None
    candidate: CandidateWork | None = None
    environment: EnvironmentWork | None = None
    promotion: PromotionWork | None = None
    past: tuple[PastWork, ...] = ()
    executed_in_production: dict[str, int] = field(default_factory=dict)
    branch_leases: dict[BranchName, CommitSha] = field(default_factory=dict)
    own_branches: tuple[BranchName, ...] = ()
    verdict: str = ""
    baseline: Baseline | None = None
    preprod: Judgement | None = None
    production_address: str = ""
    bad_times: tuple[tuple[float, float], ...] = ()
    done: bool = False
    claim: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """Step 1: the issue was found or created. ``trouble``: why nobody knows more of it; the delivery goes on."""

    kind: Literal["registered"] = "registered"
    title: str
    description: str
    issue_url: str
    taken: bool
    """Somebody has it in progress or assigned."""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchReady:
    """The branch exists; ``ahead`` when it holds a commit that production has not."""

    kind: Literal["branch_ready"] = "branch_ready"
    branch: BranchName
    head: CommitSha
    production: CommitSha
    created: bool
    ahead: bool
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentReady:
    """The environment is there and reachable."""

    kind: Literal["environment_ready"] = "environment_ready"
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The commit answers at the address; where on it metrics and health are, as far as its ``delivery.yaml`` says."""

    kind: Literal["deployed"] = "deployed"
    address: str
    commit: CommitSha
    metrics_path: str = ""
    health_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLine:
    """One test that was not simply passed, or its name when it was."""

    name: str
    state: str
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteDone:
    """A suite ran to its end; ``red`` says why it does not count as passed."""

    kind: Literal["suite_done"] = "suite_done"
    suite: str
    commit: CommitSha
    tests: int
    executed: int
    failed: int
    seconds: float
    red: str
    cases: tuple[CaseLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBuilt:
    """A candidate was built and published."""

    kind: Literal["candidate_built"] = "candidate_built"
    commit: CommitSha
    tree: TreeSha
    base: CommitSha
    feature: CommitSha
    plan_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Production was moved to ``commit``, or was there already.

    ``irreversible``: the commit migrates data in a way that its plan does not take back.
    """

    kind: Literal["moved"] = "moved"
    commit: CommitSha
    irreversible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What watching production found: ``pass``, ``fail``, ``inconclusive`` or ``no_data``."""

    kind: Literal["observed"] = "observed"
    outcome: Literal["pass", "fail", "inconclusive", "no_data"]
    evidence: tuple[str, ...]
    judgement: Judgement | None = None
    measured: Baseline | None = None
    """What a later release is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTaken:
    """Production was measured, before it is moved."""

    kind: Literal["baseline_taken"] = "baseline_taken"
    baseline: Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchesDeleted:
    """Branches that are gone, and those kept because somebody pushed to them since."""

    kind: Literal["branches_deleted"] = "branches_deleted"
    deleted: tuple[BranchName, ...]
    kept: tuple[BranchName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The step has no facts to report beyond its end. ``trouble``: what could not be done, and stops nothing."""

    kind: Literal["done"] = "done"
    note: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step could not be done.

    Attributes:
        reason: The sentence for people.
        cause: ``conflict`` (does not merge), ``foreign`` (production holds a commit that is not ours), ``stale``
            (production moved on), ``other``.
        commit: The foreign commit, for ``foreign``.
    """

    kind: Literal["failed"] = "failed"
    reason: str
    cause: Literal["conflict", "foreign", "stale", "other"] = "other"
    commit: CommitSha | None = None


Result = (
    Registered
    | BranchReady
    | EnvironmentReady
    | Deployed
    | SuiteDone
    | CandidateBuilt
    | Moved
    | BaselineTaken
    | Observed
    | BranchesDeleted
    | Done
    | Failed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAnswer:
    """What the ledger says to a task that asks at a gate.

    Attributes:
        outcome: The flag is up, with this value: go on. Empty: park.
        over: The feature has ended without this gate: skip.
        waits_for: The sentence that says who or what is waited for.
        timeout_seconds: How long to park at most.
    """

    outcome: str = ""
    over: bool = False
    waits_for: str = ""
    timeout_seconds: float = 0.0
