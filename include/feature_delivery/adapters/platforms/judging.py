"""What a run of a suite proves: one judgement for every platform."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.junit import BadReportError
from feature_delivery.domain.errors import Conflict
from feature_delivery.domain.suites import CaseState, SuiteReport, TestCase

if TYPE_CHECKING:
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.plan import SuitePlan


_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""The second is what a shell says of what it has run."""


def exited(code: int) -> str:
    """Return how a command ended by itself, as the middle of a sentence: ``exited with 3``.

    Nobody but the kernel kills a suite that way; its own words are at most "Killed".
    """
    how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
    return f"{how} (killed, most likely for want of memory)" if code in _KILLED else how


def judge(
    suite: SuitePlan,
    *,
    name: str,
    commit: CommitSha,
    code: int | None,
    how: str,
    last_words: str,
    seconds: float,
    read: Callable[[], tuple[TestCase, ...]],
    log_path: str = "",
) -> SuiteReport:
    """Return the report of a run; what kept it from counting is its ``problem``.

    Args:
        suite: How it was run.
        name: Of the suite.
        commit: Whose files were tested.
        code: Exit code of the command; ``None`` when it did not end by itself.
        how: It ended, as the middle of a sentence: ``exited with 3``.
        last_words: The last lines it wrote, for the end of a sentence.
        seconds: It took.
        read: Gives the tests of its report; raises ``BadReportError``.
        log_path: Where its log is.
    """
    cases: tuple[TestCase, ...] = ()
    problem = ""
    if code is None:
        problem = f"it {how}. {last_words}"
    elif suite.junit is None:
        said = "" if code == 0 else f"The command {how}. {last_words}"
        cases = (TestCase(name, CaseState.PASSED if code == 0 else CaseState.FAILED, seconds, said),)
    else:
        try:
            cases = read()
        except BadReportError as error:
            problem = f"the command {how}, and {error}. {last_words}"
        else:
            broken = any(case.state in {CaseState.FAILED, CaseState.ERROR} for case in cases)
            if code != 0 and not broken:
                problem = f"the command {how} although its report shows no failure. {last_words}"
    return SuiteReport(suite=name, commit=commit, seconds=seconds, cases=cases, problem=problem, log_path=log_path)


def says_nothing(name: str, commit: CommitSha, *, about: str, found: CommitSha | None) -> Conflict:
    """Return that a suite of ``commit`` proves nothing about an environment where ``found``, or nothing, runs."""
    return Conflict(
        f"The {name} suite of {commit[:12]} says nothing about {about}: "
        f"{found[:12] if found else 'another release, or none,'} runs there now. Deploy, then run the suite again."
    )
