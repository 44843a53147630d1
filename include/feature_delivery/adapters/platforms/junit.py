"""JUnit XML to test cases. The file is written by code under test, so it is read as hostile.

The standard library's expat does the parsing; document types and entities are refused before anything of them is
expanded (what defusedxml would do, which has not been kept since 2021), and size, depth and number are limited.
Dialects agree on ``testcase`` with ``failure``, ``error`` or ``skipped`` in it; nothing else is relied on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.parsers import expat

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.domain.suites import CaseState, TestCase

if TYPE_CHECKING:
    from pathlib import Path

SIZE_LIMIT_BYTES = 64 * 1024 * 1024
CASES_LIMIT = 200_000
_DEPTH_LIMIT = 100
_MESSAGE_LIMIT = 2_000
_NAME_LIMIT = 500
_STATES = {"failure": CaseState.FAILED, "error": CaseState.ERROR, "skipped": CaseState.SKIPPED}
# A test that failed and then broke in its teardown is an error; a skip never hides a failure.
_WEIGHT = {CaseState.PASSED: 0, CaseState.SKIPPED: 1, CaseState.FAILED: 2, CaseState.ERROR: 3}


class BadReportError(Exception):
    """The report cannot be used; ``str(error)`` says why, as the end of a sentence."""


def read_report(path: Path, *, inside: Path) -> tuple[TestCase, ...]:
    """Return the tests in a report file, which lies below the folder ``inside``.

    Raises:
        BadReportError: There is no such regular file, a link is on the way, it is too large, or it is no JUnit XML.
    """
    try:
        data = untrusted.read(path, inside=inside, limit_bytes=SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise BadReportError(f"there is no report at {path.name!r} ({error.strerror})") from error
    return parse_report(data)


def parse_report(data: bytes) -> tuple[TestCase, ...]:
    """Return the tests in a report.

    Raises:
        BadReportError: It is too large, or no JUnit XML.
    """
    if len(data) > SIZE_LIMIT_BYTES:
        raise BadReportError(f"the report is larger than {SIZE_LIMIT_BYTES // 1024**2} MB")
    reader = _Reader()
    try:
        reader.parse(data)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadReportError(f"the report is not well-formed XML ({error})") from error
    return tuple(reader.cases)


class _Reader:
    """Collects test cases while expat walks through the document."""

    def __init__(self) -> None:
        self.cases: list[TestCase] = []
        self._path: list[str] = []
        self._name = ""
        self._seconds = 0.0
        self._state = CaseState.PASSED
        self._message = ""
        self._collects = False

    def parse(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(data, True)

    def _refuse_doctype(self, *_: object) -> None:
        raise BadReportError("the report declares a document type, which is not read")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = _local(tag)
        if not self._path and tag not in {"testsuites", "testsuite"}:
            raise BadReportError(f"the report is XML, but begins with {tag[:80]!r} and not with 'testsuite'")
        if len(self._path) >= _DEPTH_LIMIT:
            raise BadReportError(f"the report is nested deeper than {_DEPTH_LIMIT} elements")
        if tag == "testcase" and "testcase" not in self._path:
            self._begin_case(attributes)
        elif self._path and self._path[-1] == "testcase" and tag in _STATES:
            self._judge(_STATES[tag], attributes)
        self._path.append(tag)

    def _begin_case(self, attributes: dict[str, str]) -> None:
        if len(self.cases) >= CASES_LIMIT:
            raise BadReportError(f"the report holds more than {CASES_LIMIT} tests")
        parts = (attributes.get("classname", ""), attributes.get("name", ""))
        self._name = ("::".join(part for part in parts if part) or "(unnamed)")[:_NAME_LIMIT]
        self._seconds = _seconds(attributes.get("time", "0"))
        self._state, self._message = CaseState.PASSED, ""

    def _judge(self, state: CaseState, attributes: dict[str, str]) -> None:
        self._collects = _WEIGHT[state] > _WEIGHT[self._state]
        if self._collects:
            self._state = state
            self._message = attributes.get("message", "")[:_MESSAGE_LIMIT]

    def _text(self, text: str) -> None:
        if self._collects and self._path[-1] in _STATES and len(self._message) < _MESSAGE_LIMIT:
            joint = "\n" if self._message and not self._message.endswith("\n") else ""
            self._message = (self._message + joint + text)[:_MESSAGE_LIMIT]

    def _end(self, tag: str) -> None:
        tag = _local(tag)
        self._path.pop()
        if tag in _STATES:
            self._collects = False
        elif tag == "testcase" and "testcase" not in self._path:
            self.cases.append(TestCase(self._name, self._state, self._seconds, self._message.strip()))


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


def _seconds(text: str) -> float:
    """Return a duration; some tools write ``1,234.5``, and nonsense counts as none."""
    try:
        seconds = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0
