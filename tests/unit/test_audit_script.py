"""The audit of what is locked: what fails, what is excused for how long, and what is said when nobody can be asked."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from scripts.audit import Excuse, FaultError, excuses, judged

TODAY = date(2026, 11, 28)
VULNERABLE = {
    "dependencies": [
        {"name": "fine", "version": "1.0", "vulns": []},
        {"name": "holey", "version": "2.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["2.1"]}, {"id": "GHSA-2"}]},
    ]
}


def project(*ignored: dict[str, Any]) -> dict[str, Any]:
    return {"tool": {"audit": {"ignore": list(ignored)}}}


def test_a_vulnerability_fails_and_says_where_it_is_mended() -> None:
    code, said = judged(json.dumps(VULNERABLE), "", excused=[])
    assert code == 1
    assert "holey 2.0: GHSA-1, mended in 2.1." in said
    assert "holey 2.0: GHSA-2, mended in no version yet." in said


def test_nothing_known_is_said_with_how_much_was_asked_about_and_what_is_borne() -> None:
    clean = {"dependencies": VULNERABLE["dependencies"][:1]}
    code, said = judged(json.dumps(clean), "", excused=[Excuse("GHSA-1", "Not reached by us.", TODAY)])
    assert code == 0
    assert said.startswith("1 packages audited")
    assert "Borne until 2026-11-28: GHSA-1, Not reached by us." in said


def test_a_pip_audit_that_fails_by_itself_fails() -> None:
    assert judged("", "usage: pip-audit [-h]", excused=[]) == (1, "pip-audit failed: usage: pip-audit [-h]")
    assert judged("", "", excused=[])[0] == 1


@pytest.mark.parametrize("output", ["", "Traceback", "<html>"])
def test_a_service_that_cannot_be_asked_fails_nobody_and_is_not_overlooked(output: str) -> None:
    code, said = judged(output, "warning\nConnectionError: api.example", excused=[])
    assert code == 0
    assert "NOT AUDITED" in said
    assert "ConnectionError" in said
    assert said.count("!" * 100) == 2


def test_an_excuse_has_a_reason_and_an_end() -> None:
    good = {"id": "GHSA-1", "reason": "Not reached by us.", "until": TODAY}
    assert excuses(project(good), today=TODAY) == [Excuse("GHSA-1", "Not reached by us.", TODAY)]
    assert excuses({}, today=TODAY) == []
    for lacking in ({"reason": ""}, {"until": None}, {"until": "2026-12-31"}, {"id": ""}):
        with pytest.raises(FaultError, match="Write all three"):
            excuses(project({**good, **lacking}), today=TODAY)
    with pytest.raises(FaultError, match="which is over"):
        excuses(project({**good, "until": date(2026, 11, 27)}), today=TODAY)
