"""The local records go over JSON without loss, so that tasks can reach them over HTTP."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from feature_delivery.adapters import local_records as values
from feature_delivery.adapters.ledger.local_records import SqlLocalRecords
from feature_delivery.domain.names import BranchName, CommitSha, FeatureKey, PersonName, ProjectName
from feature_delivery.ports.git_host import RequestState, ReviewKind, StatusState
from feature_delivery.ports.tracker import IssueState

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
SHOP, KEY, SHA = ProjectName("shop"), FeatureKey("SHOP-1"), CommitSha("a" * 40)

EXAMPLES: list[Any] = [
    values.LocalIssue(
        project=SHOP,
        key=KEY,
        title="Gift",
        description="",
        state=IssueState.DONE,
        assignee=None,
        reporter="mia",
        created_at=NOON,
        updated_at=NOON,
    ),
    values.LocalRequest(
        project=SHOP,
        number=1,
        source=BranchName("a"),
        target=BranchName("b"),
        head=SHA,
        author="bob",
        title="",
        body="",
        state=RequestState.OPEN,
        created_at=NOON,
        updated_at=NOON,
        reviews=(values.LocalReview(person="c", kind=ReviewKind.REJECT, commit=SHA, comment="no", at=NOON),),
    ),
    values.LocalStatus(commit=SHA, name="n", state=StatusState.PENDING, description="", url="", at=NOON),
    values.LocalComment(place=values.Place.ISSUE, on=KEY, marker="m", author="a", text="ü\n", at=NOON),
    values.LocalMessage(id="1", key=KEY, to=(PersonName("a"), PersonName("b")), text="t", at=NOON),
]


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_value_survives_json(value: Any) -> None:
    adapter = TypeAdapter(type(value))
    assert adapter.validate_json(adapter.dump_json(value)) == value


def test_the_sql_implementation_has_exactly_the_methods_of_the_protocol() -> None:
    def public(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(part)
            for name, part in vars(kind).items()
            if not name.startswith("_") and callable(part)
        }

    assert public(SqlLocalRecords) == public(values.LocalRecords)
    assert len(public(values.LocalRecords)) <= 14
