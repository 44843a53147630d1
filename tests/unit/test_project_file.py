"""Project files: everything wrong in them is one sentence that names the field."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.bootstrap.project_file import parse_project, read_project_file
from feature_delivery.cli.doctor import _freezes
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.people import Expiry
from feature_delivery.domain.process import Step, Who

GOOD = """
name: shop
repository: /srv/shop.git
people:
  dan: {roles: [developer], emails: [Dan@Example.com], deputy: mia}
  rob: {roles: [reviewer]}
  tom: {roles: [tester], logins: [tommy]}
  mia: {roles: [manager, operator]}
gates:
  review: {timeout: 4h, on_expiry: remind}
  acceptance: {timeout: never}
choices: {observe_for: 30s}
"""


def test_a_small_file_is_a_whole_project() -> None:
    project = parse_project(GOOD, where="shop.yaml")
    policies = project.people.policies
    assert project.dag_id == "feature_delivery_shop"
    assert policies[Step.WAIT_FOR_REVIEW].timeout == timedelta(hours=4)
    assert policies[Step.WAIT_FOR_ACCEPTANCE].timeout is None
    assert policies[Step.WAIT_FOR_ACCEPTANCE].on_expiry is Expiry.REJECT
    assert project.choices.observe_for == timedelta(seconds=30)
    assert project.people.by_emails(["dan@example.com"]) == {"dan"}
    assert project.people.with_role(Who.DEVELOPER) == ("dan", "mia")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("name: shop", "name: Shop!"), "'Shop!' is not a project name"),
        (("roles: [reviewer]", "roles: [boss]"), "field 'people.rob.roles.0'"),
        (("roles: [reviewer]", "roles: [developer]"), "review.wait_for_review needs 1 reviewer"),
        (("deputy: mia", "deputy: eve"), "deputy 'eve' of 'dan' is nobody"),
        (("timeout: 4h", "timeout: soon"), "field 'gates.review.timeout'"),
        (("review: {", "verdict: {skip: true, "), "cannot be skipped"),
        (("review: {", "code: {"), "'code' is no gate that people decide"),
        (("review: {", "review: {count: 3, "), "needs 3 reviewer"),
        (("review: {", "review: {count: 0, "), "field 'gates.review.count'"),
        (("review: {", "verdict: {on_expiry: reject}\n  review: {"), "verdict cannot reject when its time is over"),
        (("review: {", "start: {timeout: 4h, on_expiry: reject}\n  review: {"), "nothing to send back: say 'remind'"),
        (("review: {", "confirmation: {on_expiry: evidence}\n  review: {"), "only the verdict has"),
        (("review: {", "verdict: {count: 2}\n  review: {"), "decided by the first who decides"),
        (("timeout: 4h", "timeout: .inf"), "holds an impossible value"),
        (("timeout: 4h", "timeout: 2026-02-30"), "holds an impossible value: day is out of range for month"),
        (("repository: /srv/shop.git", ""), "field 'repository'"),
        (("repository:", "repositry: x\nrepository:"), "field 'repositry'"),
        (("choices:", "branches: {production: preprod}\nchoices:"), "two have one name"),
        (("choices:", "branches: {production: 'a..b'}\nchoices:"), "is not a branch name"),
        (("choices:", "choices: ["), "no valid YAML"),
        (("  rob:", "  rob smith:"), "is not a user name"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change: tuple[str, str], sentence: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(Misconfigured, match=r"Project file 'shop\.yaml'") as caught:
        parse_project(GOOD.replace(*change), where="shop.yaml")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


FROZEN = """
freezes:
  timezone: Europe/Berlin
  windows:
    - {name: Weekend, when: Fri 16:00 - Mon 08:00}
    - {when: 2026-12-20 .. 2027-01-03, timezone: UTC}
"""


def test_freeze_windows_are_read_with_their_zones() -> None:
    weekend, holidays = parse_project(GOOD + FROZEN, where="shop.yaml").freezes
    assert (weekend.name, weekend.zone, len(weekend.weekly)) == ("Weekend", "Europe/Berlin", 1)
    assert (holidays.name, holidays.zone, holidays.weekly) == ("A freeze window", "UTC", ())
    assert parse_project(GOOD, where="shop.yaml").freezes == ()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("Fri 16:00", "Friday at 4"), "is no freeze window: write 'Fri 16:00 - Mon 08:00'"),
        (("Europe/Berlin", "Europe/Atlantis"), "'Europe/Atlantis' is no time zone"),
        (("Fri 16:00 - Mon 08:00", "Mon 00:00 - Mon 00:00"), "leave no moment of a week"),
        (("when: 2026-12-20", "reason: x, when: 2026-12-20"), "field 'freezes.windows.1.reason'"),
    ],
)
def test_a_calendar_that_is_wrong_is_said_in_one_sentence(change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_project(GOOD + FROZEN.replace(*change), where="shop.yaml")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_doctor_knows_what_is_frozen_what_is_over_and_whether_anybody_could_override_it() -> None:
    texts = {"Fri 16:00 - Mon 08:00": "Mon-Sun 00:00 - 23:59", "2026-12-20 .. 2027-01-03": "2020-12-20 .. 2021-01-03"}
    content = GOOD + FROZEN
    for old, new in texts.items():
        content = content.replace(old, new)
    on, over = _freezes(parse_project(content, where="shop.yaml"))
    assert on.well
    assert "on now, until" in on.sentence or "not on now" in on.sentence  # one minute of the day is free
    assert (over.well, "over: remove it" in over.sentence) == (False, True)
    lonely = parse_project(content.replace("[manager, operator]", "[manager]"), where="shop.yaml")
    assert "give somebody the role 'operator'" in list(_freezes(lonely))[-1].sentence


def test_a_skipped_gate_needs_nobody() -> None:
    text = GOOD.replace("acceptance: {timeout: never}", "acceptance: {skip: true}").replace("[tester]", "[developer]")
    assert Step.WAIT_FOR_ACCEPTANCE not in parse_project(text, where="shop.yaml").people.policies


@given(st.text() | st.binary().map(repr))
def test_any_text_is_a_project_or_a_sentence(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"Project file 'x\.yaml'"):
        parse_project(text, where="x.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.yaml"):
        read_project_file(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match=r"bad\.yaml"):
        read_project_file(tmp_path / "bad.yaml")
