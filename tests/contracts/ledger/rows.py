"""Rows for the tests of this folder, with as little in them as the ledger takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_delivery.adapters.ledger import SqlBooks
from feature_delivery.domain.names import CommitSha, FeatureKey, ProjectName, TreeSha
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Attempt,
    Environment,
    Feature,
    Gate,
    Promotion,
    SuiteResult,
    WebhookDelivery,
)
from feature_delivery.ports.ledger import Books

SHOP, OTHER = ProjectName("shop"), ProjectName("other")
KEY = FeatureKey("SHOP-1")
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)

Begin = Callable[[], AbstractContextManager[SqlBooks]]


SHA_OF_CANDIDATE = CommitSha("c" * 40)


def sha(letter: str) -> CommitSha:
    return CommitSha(letter * 40)


def a_feature(books: Books, key: str = KEY, *, project: ProjectName = SHOP, delivery: int = 1, **more: Any) -> Feature:
    run = key if delivery == 1 else f"{key}__{delivery}"
    feature = Feature(
        project=project, key=FeatureKey(key), delivery=delivery, run_id=run, **({"title": "Gift cards"} | more)
    )
    books.add(feature)
    return feature


def an_attempt(books: Books, feature: Feature, number: int = 1, commit: str = "a", **more: Any) -> Attempt:
    attempt = Attempt(feature_id=feature.id, number=number, commit=sha(commit), **more)
    books.add(attempt)
    feature.attempt_number = number
    return attempt


def an_environment(books: Books, feature: Feature | None, name: str = "development-shop-1", **more: Any) -> Environment:
    environment = Environment(
        project=more.pop("project", SHOP),
        name=name,
        kind="development",
        feature_id=feature.id if feature else None,
        **more,
    )
    books.add(environment)
    return environment


def a_gate(books: Books, feature: Feature, step: Step = Step.WAIT_FOR_REVIEW, **more: Any) -> Gate:
    gate = Gate(feature_id=feature.id, step=step, **more)
    books.add(gate)
    return gate


def a_promotion(books: Books, feature: Feature, attempt: int = 1, **more: Any) -> Promotion:
    values: dict[str, Any] = {"before": sha("0"), "candidate": sha("c"), "tree": TreeSha("d" * 40)} | more
    promotion = Promotion(project=feature.project, feature_id=feature.id, attempt=attempt, **values)
    books.add(promotion)
    return promotion


def a_result(books: Books, feature: Feature, suite: str, commit: str, executed: int, **more: Any) -> SuiteResult:
    values: dict[str, Any] = {
        "attempt": 1,
        "step": Step.CHECK_UNIT,
        "tests": executed,
        "failed": 0,
        "seconds": 1.5,
    } | more
    result = SuiteResult(feature_id=feature.id, suite=suite, commit=sha(commit), executed=executed, **values)
    books.add(result)
    return result


def a_webhook(number: int, **more: Any) -> WebhookDelivery:
    values: dict[str, Any] = {"project": SHOP, "host": "local", "event": "push", "body": bytes(range(256))}
    return WebhookDelivery(delivery_id=f"d-{number}", **(values | more))
