"""Reports are written by code under test: honest ones are read, hostile ones refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.platforms import junit
from feature_delivery.adapters.platforms.junit import BadReportError, parse_report, read_report
from feature_delivery.domain.suites import CaseState


def test_every_state_is_read_with_its_message() -> None:
    cases = parse_report(
        b"""<?xml version="1.0" encoding="utf-8"?>
        <testsuites><testsuite name="s" tests="5">
          <properties><property name="a" value="b"/></properties>
          <testcase classname="shop.cart" name="adds" time="1,234.5"/>
          <testcase classname="shop.cart" name="pays"><failure message="no stock">line 1\nline 2</failure></testcase>
          <testcase name="breaks"><error message="boom"/></testcase>
          <testcase name="waits"><skipped type="pytest.skip" message="later"/></testcase>
          <testcase name="talks"><system-out>failure error</system-out></testcase>
        </testsuite></testsuites>"""
    )
    assert [(case.name, case.state) for case in cases] == [
        ("shop.cart::adds", CaseState.PASSED),
        ("shop.cart::pays", CaseState.FAILED),
        ("breaks", CaseState.ERROR),
        ("waits", CaseState.SKIPPED),
        ("talks", CaseState.PASSED),
    ]
    assert cases[0].seconds == 1234.5
    assert cases[1].message == "no stock\nline 1\nline 2"
    assert cases[3].message == "later"


def test_a_skip_never_hides_a_failure_and_an_error_outweighs_it() -> None:
    (first, second) = parse_report(
        b"<testsuite><testcase name='a'><failure message='f'/><skipped/></testcase>"
        b"<testcase name='b'><skipped/><failure/><error message='e'/></testcase></testsuite>"
    )
    assert (first.state, first.message) == (CaseState.FAILED, "f")
    assert (second.state, second.message) == (CaseState.ERROR, "e")


def test_an_empty_report_holds_no_test() -> None:
    assert parse_report(b"<testsuites/>") == ()


@pytest.mark.parametrize("seconds", ["nan", "inf", "-3", "soon", ""])
def test_a_nonsense_duration_counts_as_none(seconds: str) -> None:
    (case,) = parse_report(f'<testsuite><testcase name="a" time="{seconds}"/></testsuite>'.encode())
    assert case.seconds == 0.0


def test_a_test_without_a_name_is_counted() -> None:
    (case,) = parse_report(b"<testsuite><testcase/></testsuite>")
    assert case.name == "(unnamed)"


def test_namespaces_do_not_matter() -> None:
    (case,) = parse_report(b'<j:testsuite xmlns:j="u"><j:testcase name="a"><j:error/></j:testcase></j:testsuite>')
    assert case.state is CaseState.ERROR


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not well-formed"),
        (b"<testsuite><testcase name='a'/>", "not well-formed"),
        (b"<testsuite/>trailing", "not well-formed"),
        (b"<html/>", "begins with 'html'"),
        (b'<?xml version="1.0" encoding="no-such"?><testsuite/>', "not well-formed"),
        (b"\xff\xfe<", "not well-formed"),
        (b'<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><testsuite name="&b;"/>', "document type"),
        (b'<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite/>', "document type"),
        (b"<testsuite>" * 200, "nested deeper"),
        (b"<testsuite name='&undefined;'/>", "not well-formed"),
    ],
)
def test_what_is_no_report_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadReportError, match=why):
        parse_report(data)


def test_too_many_tests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "CASES_LIMIT", 3)
    with pytest.raises(BadReportError, match="more than 3 tests"):
        parse_report(b"<testsuite>" + b"<testcase/>" * 4 + b"</testsuite>")


def test_a_report_that_is_too_large_is_refused_without_reading_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(junit, "SIZE_LIMIT_BYTES", 1024)
    report = tmp_path / "r.xml"
    report.write_bytes(b" " * 4096)
    with pytest.raises(BadReportError, match="larger than"):
        read_report(report, inside=tmp_path)


def test_long_names_and_messages_are_cut() -> None:
    (case,) = parse_report(
        f"<testsuite><testcase name='{'n' * 9999}'><failure>{'m' * 99999}</failure></testcase></testsuite>".encode()
    )
    assert len(case.name) == 500
    assert len(case.message) == 2000


def test_only_a_regular_file_is_a_report(tmp_path: Path) -> None:
    with pytest.raises(BadReportError, match="no report"):
        read_report(tmp_path / "missing.xml", inside=tmp_path)
    (tmp_path / "directory.xml").mkdir()
    with pytest.raises(BadReportError, match="not a regular file"):
        read_report(tmp_path / "directory.xml", inside=tmp_path)
    os.mkfifo(tmp_path / "fifo.xml")
    with pytest.raises(BadReportError, match="not a regular file"):
        read_report(tmp_path / "fifo.xml", inside=tmp_path)
    (tmp_path / "real.xml").write_bytes(b"<testsuite/>")
    (tmp_path / "link.xml").symlink_to(tmp_path / "real.xml")
    with pytest.raises(BadReportError, match="no report"):
        read_report(tmp_path / "link.xml", inside=tmp_path)


@given(st.binary(max_size=400))
def test_any_bytes_give_cases_or_a_refusal(data: bytes) -> None:
    try:
        parse_report(b"<testsuite>" + data)
    except BadReportError:
        return
