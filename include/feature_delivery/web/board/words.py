"""Words of the domain as people read them; each is a message of the catalogues.

The keys are the values that the ledger keeps. A value without a word (of a later version) is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from feature_delivery.domain.judging import rules
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import PROCESS, Step, Who
from feature_delivery.domain.records import AttemptState, FeatureState, PromotionState
from feature_delivery.domain.ways import Way
from feature_delivery.services.control.board import Stage
from feature_delivery.services.control.journey import Spent


def N_(text: str) -> str:  # noqa: N802 - the name by which catalogues are extracted
    """Mark a message that is translated where it is shown."""
    return text


STAGES: Mapping[str, str] = {
    Stage.DEVELOPMENT: N_("Development"),
    Stage.REVIEW: N_("Review"),
    Stage.ACCEPTANCE: N_("Acceptance"),
    Stage.CONFIRMATION: N_("Confirmation"),
    Stage.QUEUE: N_("Production queue"),
    Stage.PRODUCTION: N_("Production"),
    Stage.DELIVERED: N_("Delivered"),
    Stage.STOPPED: N_("Stopped"),
}

GATES: Mapping[str, str] = {
    Step.WAIT_FOR_START: N_("Start"),
    Step.WAIT_FOR_CODE: N_("Code"),
    Step.WAIT_FOR_MERGE_REQUEST: N_("Merge request"),
    Step.WAIT_FOR_REVIEW: N_("Review"),
    Step.WAIT_FOR_ACCEPTANCE: N_("Acceptance"),
    Step.WAIT_FOR_CONFIRMATION: N_("Confirmation"),
    Step.WAIT_FOR_TURN: N_("Turn for production"),
    Step.WAIT_FOR_VERDICT: N_("Verdict"),
    Step.WAIT_FOR_REWORK: N_("Rework"),
    Step.WAIT_FOR_DEMONSTRATION: N_("Demonstration"),
}

ACTS: Mapping[str, str] = {
    Step.WAIT_FOR_CODE: N_("Push a commit"),
    Step.WAIT_FOR_MERGE_REQUEST: N_("Open the merge request"),
    Step.WAIT_FOR_REWORK: N_("Push a fix"),
}
"""What is to be done at a gate that waits for something elsewhere."""

WHO: Mapping[str, str] = {
    Who.AUTOMATIC: N_("automatic"),
    Who.DEVELOPER: N_("developer"),
    Who.REVIEWER: N_("reviewer"),
    Who.TESTER: N_("tester"),
    Who.MANAGER: N_("manager"),
    Who.OPERATOR: N_("operator"),
}

STATION_STATES: Mapping[str, str] = {
    "pending": N_("to come"),
    "running": N_("running"),
    "waiting": N_("waiting"),
    "done": N_("done"),
    "skipped": N_("skipped"),
    "rejected": N_("rejected"),
    "failed": N_("failed"),
}

FEATURE_STATES: Mapping[str, str] = {
    FeatureState.ACTIVE: N_("under delivery"),
    FeatureState.SHIPPED: N_("in production"),
    FeatureState.DELIVERED: N_("delivered"),
    FeatureState.CANCELLED: N_("cancelled"),
    FeatureState.ABANDONED: N_("abandoned"),
}

ATTEMPT_STATES: Mapping[str, str] = {
    AttemptState.ACTIVE: N_("under way"),
    AttemptState.SUPERSEDED: N_("superseded"),
    AttemptState.REJECTED: N_("rejected"),
    AttemptState.PROMOTED: N_("in production, verdict open"),
    AttemptState.SHIPPED: N_("shipped"),
    AttemptState.ROLLED_BACK: N_("rolled back"),
    AttemptState.DROPPED: N_("given up"),
}

PROMOTION_STATES: Mapping[str, str] = {
    PromotionState.INTENDED: N_("about to move"),
    PromotionState.MOVED: N_("branch moved"),
    PromotionState.UNCERTAIN: N_("uncertain: the deploy failed"),
    PromotionState.DEPLOYED: N_("deployed, verdict open"),
    PromotionState.KEPT: N_("kept"),
    PromotionState.ROLLING_BACK: N_("rolling back"),
    PromotionState.ROLLED_BACK: N_("rolled back"),
    PromotionState.DROPPED: N_("never moved"),
}

DEPLOYMENT_STATES: Mapping[str, str] = {
    "running": N_("running"),
    "done": N_("done"),
    "failed": N_("failed"),
}

DECISIONS: Mapping[str, str] = {
    DecisionKind.APPROVE: N_("Approve"),
    DecisionKind.REJECT: N_("Reject"),
    DecisionKind.KEEP: N_("Keep"),
    DecisionKind.ROLL_BACK: N_("Roll back"),
    DecisionKind.OVERRIDE: N_("Override"),
    DecisionKind.FREE_LOCK: N_("Free the lock"),
}

DECIDED: Mapping[str, str] = {
    DecisionKind.APPROVE: N_("approved"),
    DecisionKind.REJECT: N_("rejected"),
    DecisionKind.KEEP: N_("kept"),
    DecisionKind.ROLL_BACK: N_("rolled back"),
    DecisionKind.OVERRIDE: N_("overridden"),
    DecisionKind.FREE_LOCK: N_("lock freed"),
}

WAYS: Mapping[str, str] = {
    Way.BOARD: N_("board"),
    Way.SLACK: N_("Slack"),
    Way.AIRFLOW: N_("Airflow"),
    Way.REVIEW: N_("review on the host"),
    Way.COMMENT: N_("comment on the host"),
    Way.CLI: N_("command line"),
    Way.REST: N_("REST"),
    Way.BREAK_GLASS: N_("break glass"),
    Way.DIRECT: N_("command line, without Airflow"),
}

PLACES: Mapping[str, str] = {
    "development": N_("Development"),
    "preprod": N_("Pre-production"),
    "production": N_("Production"),
}

SHORT_PLACES: Mapping[str, str] = {
    "development": N_("dev"),
    "preprod": N_("pre-prod"),
    "production": N_("prod"),
}

SUITES: Mapping[str, str] = {
    "syntax": N_("Syntax"),
    "unit": N_("Unit"),
    "functional": N_("Functional"),
    "integration": N_("Integration"),
    "load": N_("Load"),
}

CASES: Mapping[str, str] = {
    "passed": N_("passed"),
    "failed": N_("failed"),
    "error": N_("error"),
    "skipped": N_("skipped"),
}

ERRANDS: Mapping[str, str] = {
    Errand.MESSAGE: N_("Message"),
    Errand.ISSUE_COMMENT: N_("Comment on the issue"),
    Errand.ISSUE_STATE: N_("State of the issue"),
    Errand.ISSUE_ASSIGNEE: N_("Assignee of the issue"),
    Errand.OPEN_REQUEST: N_("Open the merge request"),
    Errand.REQUEST_COMMENT: N_("Comment on the merge request"),
    Errand.REQUEST_STATE: N_("State of the merge request"),
    Errand.REQUEST_TARGET: N_("Target of the merge request"),
    Errand.FIND_REQUEST: N_("Find the merge request"),
    Errand.LEVEL_PREPROD: N_("Level pre-production"),
    Errand.SHOW: N_("Status on the host's pages"),
    Errand.COMMIT_STATUS: N_("Commit status"),
    Errand.POST: N_("Message in a channel"),
    Errand.MEND: N_("Messages in the chat, brought up to date"),
    Errand.HEAR: N_("Answer from the chat"),
}

SPENT: Mapping[str, str] = {
    Spent.PEOPLE: N_("Waiting for people"),
    Spent.QUEUE: N_("Queueing for production"),
    Spent.WORK: N_("Work"),
}

SPENT_SHORT: Mapping[str, str] = {
    Spent.PEOPLE: N_("People"),
    Spent.QUEUE: N_("Queue"),
    Spent.WORK: N_("Work"),
}

STATIONS: Mapping[str, str] = {
    "Formalise the request as an issue": N_("Formalise the request as an issue"),
    "Take it": N_("Take it"),
    "Create the branch": N_("Create the branch"),
    "Development infrastructure": N_("Development infrastructure"),
    "Write code and tests, push": N_("Write code and tests, push"),
    "Deploy to development": N_("Deploy to development"),
    "Syntax, unit and functional tests": N_("Syntax, unit and functional tests"),
    "Open the merge request": N_("Open the merge request"),
    "Tell the reviewers": N_("Tell the reviewers"),
    "Review; build the candidate": N_("Review; build the candidate"),
    "Pre-production infrastructure": N_("Pre-production infrastructure"),
    "Deploy the candidate to pre-production": N_("Deploy the candidate to pre-production"),
    "Integration tests": N_("Integration tests"),
    "Tell the testers": N_("Tell the testers"),
    "Acceptance": N_("Acceptance"),
    "Tell the manager": N_("Tell the manager"),
    "Check and confirm": N_("Check and confirm"),
    "Promote and deploy to production": N_("Promote and deploy to production"),
    "Integration tests in production, observation": N_("Integration tests in production, observation"),
    "Roll back or keep": N_("Roll back or keep"),
    "Production branch back to the last working state": N_("Production branch back to the last working state"),
    "Redeploy production, verify, tell everyone; rework": N_("Redeploy production, verify, tell everyone; rework"),
    "Delete the branches, development and pre-production": N_("Delete the branches, development and pre-production"),
    "Close the issue": N_("Close the issue"),
    "Show it to the client": N_("Show it to the client"),
}
"""The rows of the process by their titles; ``domain.process.PROCESS`` is the original."""

assert {row.title for row in PROCESS} <= STATIONS.keys(), "a row of the process has no word"

TASKS: Mapping[str, str] = {
    Step.RESERVE_DEVELOPMENT: N_("reservation"),
    Step.PROVISION_DEVELOPMENT: N_("infrastructure"),
    Step.CHECK_SYNTAX: N_("syntax"),
    Step.CHECK_UNIT: N_("unit"),
    Step.CHECK_FUNCTIONAL: N_("functional"),
    Step.WAIT_FOR_REVIEW: N_("review"),
    Step.BUILD_CANDIDATE: N_("candidate"),
    Step.RESERVE_PREPROD: N_("reservation"),
    Step.PROVISION_PREPROD: N_("infrastructure"),
    Step.TEST_PREPROD: N_("tests"),
    Step.TEST_LOAD: N_("load"),
    Step.WAIT_FOR_TURN: N_("turn"),
    Step.REFRESH_CANDIDATE: N_("refresh"),
    Step.PROMOTE: N_("promotion"),
    Step.DEPLOY_PRODUCTION: N_("deploy"),
    Step.TEST_PRODUCTION: N_("tests"),
    Step.OBSERVE_PRODUCTION: N_("observation"),
    Step.WAIT_FOR_VERDICT: N_("verdict"),
    Step.DECIDE_ROLLBACK: N_("way on"),
    Step.DEPLOY_ROLLBACK: N_("deploy"),
    Step.TEST_ROLLBACK: N_("tests"),
    Step.NOTIFY_ROLLBACK: N_("messages"),
    Step.RELEASE_PREPROD: N_("release"),
    Step.WAIT_FOR_REWORK: N_("rework"),
    Step.DELETE_BRANCHES: N_("branches"),
    Step.DESTROY_DEVELOPMENT: N_("development"),
    Step.DESTROY_PREPROD: N_("pre-production"),
}
"""Tasks of stations that have more than one, short enough to stand side by side."""

assert {step for row in PROCESS if len(row.steps) > 1 for step in row.steps} == TASKS.keys(), "a task has no word"

METRICS: Mapping[str, str] = {
    rules.AVAILABILITY.name: N_("availability"),
    rules.ERRORS.name: N_("errors"),
    rules.LATENCY.name: N_("latency"),
    rules.SLOWEST.name: N_("slowest twentieth"),
    rules.ANSWER.name: N_("answer to the probe"),
}
"""What is measured everywhere; a project's own metrics have the names that it gives them."""

UNITS: Mapping[str, str] = {"ms": N_("ms"), "s": N_("s")}

WORDS: Mapping[str, Mapping[str, str]] = {
    "stage": STAGES,
    "gate": GATES,
    "act": ACTS,
    "who": WHO,
    "station": STATIONS,
    "station_state": STATION_STATES,
    "task": TASKS,
    "feature_state": FEATURE_STATES,
    "attempt_state": ATTEMPT_STATES,
    "promotion_state": PROMOTION_STATES,
    "deployment_state": DEPLOYMENT_STATES,
    "decision": DECISIONS,
    "decided": DECIDED,
    "way": WAYS,
    "place": PLACES,
    "place_short": SHORT_PLACES,
    "suite": SUITES,
    "case": CASES,
    "errand": ERRANDS,
    "metric": METRICS,
    "spent": SPENT,
    "spent_short": SPENT_SHORT,
}


def word(kind: str, value: object) -> str:
    """Return the untranslated word for a value; the value itself where there is none."""
    return WORDS[kind].get(str(value), str(value))
