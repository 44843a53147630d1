"""The result of a suite, and the rule that says whether it is green."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FEWER_TESTS_TOLERATED = 0.9
"""A suite that ran fewer than this share of production's tests is red: tests were lost, not passed."""


class CaseState(StrEnum):
    """What became of one test."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test: ``seconds`` it took, and the first lines of what it said when it failed."""

    name: str
    state: CaseState
    seconds: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """What one run of a suite found.

    ``problem`` names what kept the suite from counting (time-out, no report, bad XML, exit code against the
    report); it is empty when the suite ran as it should, whatever its tests said.
    """

    suite: str
    commit: str
    seconds: float
    cases: tuple[TestCase, ...]
    problem: str = ""
    log_path: str = ""

    def count(self, *states: CaseState) -> int:
        """Return how many tests ended in one of ``states``."""
        return sum(case.state in states for case in self.cases)

    @property
    def executed(self) -> int:
        """Tests that really ran: skipped ones prove nothing."""
        return len(self.cases) - self.count(CaseState.SKIPPED)


def why_red(report: SuiteReport, *, production_executed: int | None) -> str | None:
    """Return the sentence that says why ``report`` is red, or ``None`` when it is green.

    Args:
        report: What the suite found.
        production_executed: Tests that production's own last green run of the suite executed, when known.
    """
    broken = report.count(CaseState.FAILED, CaseState.ERROR)
    if report.problem:
        return f"The {report.suite} suite did not count: {report.problem}"
    if broken:
        first = next(c for c in report.cases if c.state in {CaseState.FAILED, CaseState.ERROR})
        return f"{broken} of {report.executed} {report.suite} tests failed, first {first.name!r}."
    return why_too_few(report.suite, executed=report.executed, in_production=production_executed)


def why_too_few(suite: str, *, executed: int, in_production: int | None) -> str | None:
    """Return why a suite that failed nowhere proves nothing: it ran no test, or clearly fewer than production's."""
    if executed == 0:
        return f"The {suite} suite ran no test."
    if in_production and executed < in_production * FEWER_TESTS_TOLERATED:
        return f"The {suite} suite ran {executed} tests where production ran {in_production}: tests were lost."
    return None
