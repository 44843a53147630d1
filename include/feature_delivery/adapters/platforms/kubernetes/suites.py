"""One run of a suite: a pod of the release's code with production's command, and the report behind its log."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections import deque
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.judging import exited, judge, says_nothing
from feature_delivery.adapters.platforms.junit import SIZE_LIMIT_BYTES, BadReportError, parse_report
from feature_delivery.adapters.platforms.kubernetes.manifests.parts import WORKSPACE, scratch
from feature_delivery.adapters.platforms.kubernetes.manifests.pods import (
    REPORT_BEGINS,
    REPORT_ENDS,
    once,
    reporting,
)
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import CODE
from feature_delivery.adapters.platforms.kubernetes.names import digest, dns_label
from feature_delivery.adapters.platforms.kubernetes.pods import PodTask
from feature_delivery.adapters.platforms.lines import clean
from feature_delivery.domain.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.pods import PodEnd
    from feature_delivery.adapters.platforms.kubernetes.record import ReleaseRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.names import CommitSha
    from feature_delivery.domain.plan import SuitePlan
    from feature_delivery.domain.suites import SuiteReport, TestCase

_LAST_LINES = 12
_ENDED = re.compile(r"([0-9]{1,3}) ([0-9]{1,9})")
_TIMED_OUT = frozenset({124, 137})


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
        waits: Waits,
        say: Callable[[str], None],
    ) -> None:
        """Nothing happens before ``run``."""
        self.place = place
        self.name = name
        self.suite = suite
        self.commit = commit
        self.variables = variables
        self.waits = waits
        self.say = say

    def run(self) -> SuiteReport:
        """Run it and report; its pod is gone afterwards.

        Raises:
            Conflict: The environment does not run the suite's commit.
            Unavailable: The cluster took the pod away: that says nothing about the commit.
        """
        release = self._serving()
        token = digest("\0".join([release.id, self.name, str(self.place.ref.generation), *self.suite.command]))
        log = _Log(token)
        task = PodTask(
            self.place.stamped(self._pod(release, token)), self.place.settings.start_allowance, hush=log.not_for_people
        )
        ended = self.waits.run(self.place.cluster, task, hear=log.hear, say=self.say)
        # The same image and the same installation have been deployed: what keeps them from a pod now is the cluster's.
        kept_from_it = ended.code is None and not ended.began and not ended.timed_out
        if ended.lost or kept_from_it or (ended.code == 0 and log.code is None):
            why = ended.reason or "its log broke off before its end"
            raise Unavailable(
                f"The {self.name} suite in {self.place.title} did not come to its end: {why}. It runs again."
            )
        if self._serving().id != release.id:
            raise self._moved(None)
        return self._judge(ended, log)

    def _serving(self) -> ReleaseRecord:
        record = self.place.read()
        if record.current is None or record.current.commit != self.commit:
            raise self._moved(record.current.commit if record.current else None)
        return record.current

    def _moved(self, found: CommitSha | None) -> Conflict:
        return says_nothing(self.name, self.commit, about=self.place.title, found=found)

    def _pod(self, release: ReleaseRecord, token: str) -> Manifest:
        settings, report = self.place.settings, self._report_path(release)
        pod = once(
            release,
            reporting(self.suite.command, timeout=self.suite.timeout, report=report, token=token),
            name=f"{dns_label(self.place.app, limit=30)}-suite-{token}",
            namespace=self.place.namespace,
            role="suite",
            # Bringing the code in is part of a pod's own limit; the suite's is kept by the command itself.
            limit=self.suite.timeout + settings.start_allowance,
            extra={**self.variables, **({"JUNIT_XML": report} if report else {})},
            needs=settings.config.suite_resources,
        )
        if report and not self._is_cloned(release):
            volumes, mounts = scratch(posixpath.dirname(report), prefix="report")
            spec = pod["spec"]
            main = spec["containers"][0]
            pod["spec"] = {**spec, "volumes": [*spec["volumes"], *volumes]}
            pod["spec"]["containers"] = [{**main, "volumeMounts": [*main["volumeMounts"], *mounts]}]
        return pod

    def _report_path(self, release: ReleaseRecord) -> str:
        """Return where the report is written: in a volume of its own, for an image's files cannot be written to."""
        if self.suite.junit is None:
            return ""
        folder = CODE if self._is_cloned(release) else self.place.settings.config.workdir or "/reports"
        return posixpath.join(folder, self.suite.junit)

    def _is_cloned(self, release: ReleaseRecord) -> bool:
        return any(mount["mountPath"] == WORKSPACE for mount in release.pod["containers"][0]["volumeMounts"])

    def _judge(self, ended: PodEnd, log: _Log) -> SuiteReport:
        code, limit = log.code, self.suite.timeout.total_seconds()
        # Whole seconds are what a shell can count.
        if ended.timed_out or (code in _TIMED_OUT and log.seconds + 1 >= limit):
            code, how = None, f"did not end within {limit:g} seconds and was killed"
        elif code is None:
            how = f"was ended by the cluster: {ended.reason or f'exit code {ended.code}'}"
        else:
            how = exited(code)
        return judge(
            self.suite,
            name=self.name,
            commit=self.commit,
            code=code,
            how=how,
            last_words=log.last_words,
            seconds=log.seconds,
            read=log.report,
        )


class _Log:
    """A suite's log: lines for people, and behind them its report and exit code for us."""

    def __init__(self, token: str) -> None:
        self._begins, self._ends = f"{REPORT_BEGINS} {token}", f"{REPORT_ENDS} {token} "
        self.not_for_people = (self._begins, self._ends)
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._encoded: list[str] | None = None
        self._size = 0
        self.code: int | None = None
        self.seconds = 0.0

    @property
    def last_words(self) -> str:
        return "It ended with:\n" + "\n".join(self._last) if self._last else "It wrote nothing."

    def hear(self, line: str) -> None:
        line = line.rstrip("\r")
        if line == self._begins:
            self._encoded, self._size = [], 0
        elif line.startswith(self._ends) and (found := _ENDED.fullmatch(line.removeprefix(self._ends))):
            self.code, self.seconds = int(found[1]), float(found[2])
        elif self._encoded is not None and self.code is None:
            self._size += len(line)
            if self._size <= SIZE_LIMIT_BYTES * 2:
                self._encoded.append(line)
        elif line.strip():
            self._last.append(clean(line))

    def report(self) -> tuple[TestCase, ...]:
        """Return the tests of the report.

        Raises:
            BadReportError: There is none, or it is no JUnit XML.
        """
        if self._encoded is None:
            raise BadReportError("there is no report where 'junit' says")
        try:
            data = base64.b64decode("".join(self._encoded), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadReportError("the report did not come through the log whole") from error
        return parse_report(data)
