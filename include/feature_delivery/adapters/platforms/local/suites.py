"""One run of a suite against an environment, in a copy of the release of its own.

The copy is why suites may run side by side, and why none of them can change the code that serves. A report that lay
in the checkout, or that another run wrote, cannot be taken for this run's.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.adapters.platforms.judging import judge, says_nothing
from feature_delivery.adapters.platforms.junit import read_report
from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.adapters.platforms.local.commands import Running
from feature_delivery.adapters.platforms.local.layout import drop_staging, new_staging, remove_tree
from feature_delivery.adapters.platforms.local.variables import variables_for
from feature_delivery.domain.errors import Conflict, Error, Refused
from feature_delivery.domain.names import slug
from feature_delivery.domain.suites import SuiteReport, TestCase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from feature_delivery.adapters.platforms.local.commands import Outcome
    from feature_delivery.adapters.platforms.local.place import Place
    from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, ReleaseRecord
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.plan import SuitePlan

_TEMPORARY = ".suite-tmp"
_LEFT_OUT = frozenset({"__pycache__", ".pytest_cache", _TEMPORARY})
_NAMED = 5


class SuiteRun:
    """One run of one suite."""

    def __init__(
        self,
        place: Place,
        *,
        name: str,
        suite: SuitePlan,
        commit: CommitSha,
        variables: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """Nothing happens before ``run``."""
        self.place = place
        self.name = name
        self.suite = suite
        self.commit = commit
        self.variables = variables
        self.say = say
        self.id = f"{slug(name) or 'suite'}-{secrets.token_hex(4)}"
        self.directory = place.layout.suites / self.id
        self.log = place.layout.logs / f"{commit[:12]}-{self.id}.log"

    def run(self) -> SuiteReport:
        """Run it and report; nothing of it runs on afterwards, and its copy is gone."""
        release = self._serving()
        if problem := self._bad_path():
            return self._report(problem)
        try:
            running = self._start(release)
            began = time.monotonic()
            outcome = running.finish(timeout=self.suite.timeout, say=self.say)
            seconds = time.monotonic() - began
            if self._serving().name != release.name:
                raise self._moved()
            return self._judge(outcome, seconds)
        except OSError:
            self._serving()
            raise
        finally:
            with suppress(OSError, Error):
                remove_tree(self.directory, inside=self.place.layout.root)

    def _serving(self) -> ReleaseRecord:
        """Return the release that answers now, which has to be of the suite's commit."""
        with self.place.changing() as record:
            return self._current(record)

    def _current(self, record: EnvironmentRecord) -> ReleaseRecord:
        if record.current is None or record.current.commit != self.commit:
            raise self._moved(record.current.commit if record.current else None)
        return record.current

    def _moved(self, found: CommitSha | None = None) -> Conflict:
        return says_nothing(self.name, self.commit, about=self.place.title, found=found)

    def _start(self, release: ReleaseRecord) -> Running:
        staging = new_staging(self.place.layout, launch=self.id.rpartition("-")[2])
        try:
            copy = staging / "copy"
            self._copy(release, copy)
            self._make_room_for_report(copy)
            with self.place.changing() as record:
                release = self._current(record)
                self.place.stop_orphans()
                copy.rename(self.directory)
                temporary = self.directory / _TEMPORARY
                temporary.mkdir(exist_ok=True)
                variables = variables_for(
                    self.place.layout,
                    record,
                    release,
                    role=f"suite:{self.id}",
                    extra=self._extra(),
                    temporary=temporary,
                )
                command = self.place.fenced(self.suite.command, release, variables, self.directory)
                return Running(
                    command,
                    variables=variables,
                    directory=self.directory,
                    log=self.log,
                    limits=self.place.limits,
                )
        finally:
            drop_staging(self.place.layout, staging)

    def _copy(self, release: ReleaseRecord, copy: Path) -> None:
        """Copy the checkout, which the release that serves may be changing, and may turn against us."""
        left = untrusted.copy(self.place.layout.releases / release.name, copy, leave_out=_LEFT_OUT)
        if left:
            named = ", ".join(clean(os.fsencode(each)) for each in left[:_NAMED])
            more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
            self.say(f"Left out of the copy that the suite runs in: {named}{more}.")

    def _make_room_for_report(self, copy: Path) -> None:
        report = self._report_path(copy)
        if report is None:
            return
        try:
            remove_tree(report, inside=copy)
            report.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise Refused(
                f"Could not run the {self.name} suite in {self.place.title}: a file or a link lies where the folder of "
                f"its report {self.suite.junit!r} belongs. Name another one in delivery.yaml."
            ) from error

    def _extra(self) -> dict[str, str]:
        report = self._report_path(self.directory)
        return {**self.variables, **({} if report is None else {"JUNIT_XML": str(report)})}

    def _report_path(self, copy: Path) -> Path | None:
        return None if self.suite.junit is None else copy / self.suite.junit

    def _bad_path(self) -> str:
        junit = self.suite.junit
        if junit is None:
            return ""
        path = PurePosixPath(junit)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            return f"its report path {junit!r} leads out of the checkout; correct delivery.yaml"
        return ""

    def _judge(self, outcome: Outcome, seconds: float) -> SuiteReport:
        return judge(
            self.suite,
            name=self.name,
            commit=self.commit,
            code=outcome.code,
            how=outcome.because(self.suite.timeout),
            last_words=outcome.last_words,
            seconds=seconds,
            read=self._read,
            log_path=str(self.log),
        )

    def _read(self) -> tuple[TestCase, ...]:
        report = self._report_path(self.directory)
        assert report is not None
        return read_report(report, inside=self.directory)

    def _report(self, problem: str) -> SuiteReport:
        return SuiteReport(
            suite=self.name, commit=self.commit, seconds=0.0, cases=(), problem=problem, log_path=str(self.log)
        )
