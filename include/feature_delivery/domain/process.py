"""The process: its steps in order, who does them, and which of them are gates.

This is the table the whole package is built around. The DAG is made from it, the board shows it, permits name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """Every task of the DAG by its task id."""

    REGISTER_FEATURE = "intake.register_feature"
    WAIT_FOR_START = "intake.wait_for_start"
    CREATE_BRANCH = "intake.create_branch"
    RESERVE_DEVELOPMENT = "development.reserve"
    PROVISION_DEVELOPMENT = "development.provision"
    WAIT_FOR_CODE = "development.wait_for_code"
    DEPLOY_DEVELOPMENT = "development.deploy"
    CHECK_SYNTAX = "development.checks.syntax"
    CHECK_UNIT = "development.checks.unit"
    CHECK_FUNCTIONAL = "development.checks.functional"
    WAIT_FOR_MERGE_REQUEST = "review.wait_for_merge_request"
    NOTIFY_REVIEWERS = "review.notify_reviewers"
    WAIT_FOR_REVIEW = "review.wait_for_review"
    BUILD_CANDIDATE = "review.build_candidate"
    RESERVE_PREPROD = "preprod.reserve"
    PROVISION_PREPROD = "preprod.provision"
    DEPLOY_PREPROD = "preprod.deploy"
    TEST_PREPROD = "preprod.integration_tests"
    TEST_LOAD = "preprod.load_test"
    NOTIFY_TESTERS = "preprod.notify_testers"
    WAIT_FOR_ACCEPTANCE = "preprod.wait_for_acceptance"
    NOTIFY_MANAGER = "preprod.notify_manager"
    WAIT_FOR_CONFIRMATION = "preprod.wait_for_confirmation"
    WAIT_FOR_TURN = "production.wait_for_turn"
    REFRESH_CANDIDATE = "production.refresh_candidate"
    PROMOTE = "production.promote"
    DEPLOY_PRODUCTION = "production.deploy"
    TEST_PRODUCTION = "production.integration_tests"
    OBSERVE_PRODUCTION = "production.observe"
    WAIT_FOR_VERDICT = "production.wait_for_verdict"
    DECIDE_ROLLBACK = "production.decide_rollback"
    RESTORE_BRANCH = "rollback.restore_branch"
    DEPLOY_ROLLBACK = "rollback.deploy"
    TEST_ROLLBACK = "rollback.integration_tests"
    NOTIFY_ROLLBACK = "rollback.notify"
    RELEASE_PREPROD = "rollback.release_preprod"
    WAIT_FOR_REWORK = "rollback.wait_for_rework"
    DELETE_BRANCHES = "teardown.delete_branches"
    DESTROY_DEVELOPMENT = "teardown.destroy_development"
    DESTROY_PREPROD = "teardown.destroy_preprod"
    CLOSE_ISSUE = "completion.close_issue"
    WAIT_FOR_DEMONSTRATION = "completion.wait_for_demonstration"


class Who(StrEnum):
    """Who does a step."""

    AUTOMATIC = "automatic"
    DEVELOPER = "developer"
    REVIEWER = "reviewer"
    TESTER = "tester"
    MANAGER = "manager"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the process table: ``number`` is a name (``"1"`` … ``"23"``, ``"R1"``, ``"R2"``)."""

    number: str
    who: tuple[Who, ...]
    title: str
    steps: tuple[Step, ...]


PROCESS: tuple[Row, ...] = (
    Row("1", (Who.MANAGER,), "Formalise the request as an issue", (Step.REGISTER_FEATURE,)),
    Row("2", (Who.DEVELOPER,), "Take it", (Step.WAIT_FOR_START,)),
    Row("3", (Who.DEVELOPER,), "Create the branch", (Step.CREATE_BRANCH,)),
    Row(
        "4",
        (Who.AUTOMATIC,),
        "Development infrastructure",
        (Step.RESERVE_DEVELOPMENT, Step.PROVISION_DEVELOPMENT),
    ),
    Row("5", (Who.DEVELOPER,), "Write code and tests, push", (Step.WAIT_FOR_CODE,)),
    Row("6", (Who.AUTOMATIC,), "Deploy to development", (Step.DEPLOY_DEVELOPMENT,)),
    Row(
        "7",
        (Who.AUTOMATIC,),
        "Syntax, unit and functional tests",
        (Step.CHECK_SYNTAX, Step.CHECK_UNIT, Step.CHECK_FUNCTIONAL),
    ),
    Row("8", (Who.DEVELOPER,), "Open the merge request", (Step.WAIT_FOR_MERGE_REQUEST,)),
    Row("9", (Who.AUTOMATIC,), "Tell the reviewers", (Step.NOTIFY_REVIEWERS,)),
    Row("10", (Who.REVIEWER,), "Review; build the candidate", (Step.WAIT_FOR_REVIEW, Step.BUILD_CANDIDATE)),
    Row(
        "11",
        (Who.AUTOMATIC,),
        "Pre-production infrastructure",
        (Step.RESERVE_PREPROD, Step.PROVISION_PREPROD),
    ),
    Row("12", (Who.AUTOMATIC,), "Deploy the candidate to pre-production", (Step.DEPLOY_PREPROD,)),
    Row("13", (Who.AUTOMATIC,), "Integration tests", (Step.TEST_PREPROD, Step.TEST_LOAD)),
    Row("14", (Who.AUTOMATIC,), "Tell the testers", (Step.NOTIFY_TESTERS,)),
    Row("15", (Who.TESTER,), "Acceptance", (Step.WAIT_FOR_ACCEPTANCE,)),
    Row("16", (Who.AUTOMATIC,), "Tell the manager", (Step.NOTIFY_MANAGER,)),
    Row("17", (Who.MANAGER,), "Check and confirm", (Step.WAIT_FOR_CONFIRMATION,)),
    Row(
        "18",
        (Who.AUTOMATIC,),
        "Promote and deploy to production",
        (Step.WAIT_FOR_TURN, Step.REFRESH_CANDIDATE, Step.PROMOTE, Step.DEPLOY_PRODUCTION),
    ),
    Row(
        "19",
        (Who.AUTOMATIC,),
        "Integration tests in production, observation",
        (Step.TEST_PRODUCTION, Step.OBSERVE_PRODUCTION),
    ),
    Row("20", (Who.MANAGER, Who.OPERATOR), "Roll back or keep", (Step.WAIT_FOR_VERDICT, Step.DECIDE_ROLLBACK)),
    Row("R1", (Who.AUTOMATIC,), "Production branch back to the last working state", (Step.RESTORE_BRANCH,)),
    Row(
        "R2",
        (Who.AUTOMATIC, Who.DEVELOPER),
        "Redeploy production, verify, tell everyone; rework",
        (Step.DEPLOY_ROLLBACK, Step.TEST_ROLLBACK, Step.NOTIFY_ROLLBACK, Step.RELEASE_PREPROD, Step.WAIT_FOR_REWORK),
    ),
    Row(
        "21",
        (Who.AUTOMATIC,),
        "Delete the branches, development and pre-production",
        (Step.DELETE_BRANCHES, Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD),
    ),
    Row("22", (Who.AUTOMATIC,), "Close the issue", (Step.CLOSE_ISSUE,)),
    Row("23", (Who.MANAGER,), "Show it to the client", (Step.WAIT_FOR_DEMONSTRATION,)),
)

GATES: frozenset[Step] = frozenset(step for step in Step if step.value.rpartition(".")[2].startswith("wait_for_"))
SETUPS: frozenset[Step] = frozenset({Step.RESERVE_DEVELOPMENT, Step.RESERVE_PREPROD})
TEARDOWNS: frozenset[Step] = frozenset({Step.DELETE_BRANCHES, Step.DESTROY_DEVELOPMENT, Step.DESTROY_PREPROD})
CHECKS: frozenset[Step] = frozenset({Step.CHECK_SYNTAX, Step.CHECK_UNIT, Step.CHECK_FUNCTIONAL})

ORDER: dict[Step, int] = {step: place for place, step in enumerate(Step)}
"""Place of each step on the way; ``rewind`` clears from a step on."""


def row_of(step: Step) -> Row:
    """Return the row of the process table that ``step`` belongs to."""
    return next(row for row in PROCESS if step in row.steps)


def gate(text: str) -> Step | None:
    """Return the gate called ``text``: its task id, its last word, or that without ``wait_for_``; else ``None``."""
    wanted = text.strip().lower()
    for step in GATES:
        short = step.value.rpartition(".")[2]
        if wanted in {step.value, short, short.removeprefix("wait_for_")}:
            return step
    return None
