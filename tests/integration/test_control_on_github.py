"""The control plane with a GitHub outside, over real HTTP and real Git: what people do there, and what they see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.bootstrap import settings
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Feature, now
from feature_delivery.services.control import outbox
from feature_delivery.services.control.kept import MARKS, keep
from feature_delivery.services.control.reconcile import reconcile
from feature_delivery.web import rounds
from feature_delivery.web.transaction import begin
from tests.contracts.github_world import FEATURE, PREPROD, PRODUCTION, GitHubWorld, github_world
from tests.fakes.hosts.github import BOT, BOT_TOKEN
from tests.support.web_app import Shop, eventually

PROJECT = """
name: shop
title: The shop
repository: {repository}
host: {{kind: github, connection: gh, labels: [delivery]}}
tracker: {{kind: github, prefix: SHOP}}
branches: {{production: production}}
people:
  max: {{roles: [manager], logins: [max-gh]}}
  dora: {{roles: [developer], emails: [dora@shop.test], logins: [dora-gh]}}
  rita: {{roles: [reviewer], logins: [rita-gh]}}
  tess: {{roles: [tester], logins: [tess-gh]}}
  olga: {{roles: [operator], logins: [olga-gh]}}
"""


@dataclass
class OnGitHub:
    """A shop whose requests and issues are on a fake GitHub; ``SHOP-1`` is its first issue, in review."""

    shop: Shop
    github: GitHubWorld
    number: int = 0

    def look(self, hints: list[Hint] | None = None) -> list[str]:
        return reconcile(rounds.control(), settings.project("shop"), hints)

    def feature(self) -> Feature:
        with begin() as unit:
            return unit.books.features()[0]

    def decisions(self) -> list[tuple[str, str, bool]]:
        with begin() as unit:
            found = unit.books.decisions(unit.books.features()[0])
            return [(one.person, one.kind, one.accepted) for one in found if one.way in {"review", "comment"}]

    def statuses(self, commit: str) -> dict[str, tuple[str, str]]:
        return {one.context: (one.state, one.url or "") for one in self.github.fake.statuses if one.sha == commit}

    def ours(self) -> list[str]:
        return [c.body for c in self.github.fake.comments if c.on == self.number and c.user == BOT]


@pytest.fixture
def on_github(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnGitHub]:
    (tmp_path / "github").mkdir()
    with github_world(tmp_path / "github") as github:
        entry = {"conn_type": "http", "host": github.server.url, "password": BOT_TOKEN}
        monkeypatch.setenv("AIRFLOW_CONN_GH", json.dumps(entry))
        text = PROJECT.format(repository=github.fake.repository.url)
        (tmp_path / "projects" / "shop.yaml").write_text(text)
        github.fake.accounts[BOT].role = "admin"
        issue = github.fake.open_issue("mia", "Gift cards", "Sell them.")
        assert issue.number == 1
        yield OnGitHub(shop, github)


@pytest.fixture
def in_review(on_github: OnGitHub) -> OnGitHub:
    shop, fake = on_github.shop, on_github.github.fake
    shop.start()
    shop.register()
    fake.items[1].assignees = ["dora-gh"]
    fake.touch(fake.items[1])
    shop.gate(Step.WAIT_FOR_START)
    on_github.look()
    assert shop.gate(Step.WAIT_FOR_START)["outcome"] == "started"
    head, production = str(fake.repository.head(FEATURE)), str(fake.repository.head(PRODUCTION))
    facts: dict[str, Any] = {"branch": FEATURE, "head": head, "production": production, "created": False}
    shop.perform(Step.CREATE_BRANCH, kind="branch_ready", ahead=True, authors=["dora@shop.test"], **facts)
    on_github.number = fake.open_pull("dora-gh", FEATURE, PREPROD, title="Gift cards").number
    on_github.look()
    assert on_github.feature().request_number == on_github.number
    return on_github


def test_reviews_and_commands_count_and_are_taken_back(in_review: OnGitHub) -> None:
    fake, number = in_review.github.fake, in_review.number
    review = fake.review(number, "rita-gh", "APPROVED", "Good.")
    fake.write(number, "tess-gh", "/approve acceptance\r\nWorks for me.")
    fake.write(number, "dora-gh", "/approve review")
    fake.write(number, "eve", "/reject everything")
    for _ in range(2):
        in_review.look([Hint(request=number, branch=FEATURE)])
        in_review.look()
    assert sorted(in_review.decisions()) == [
        ("dora", "approve", False),
        ("rita", "approve", True),
        ("tess", "approve", True),
    ]
    fake.dismiss(review)
    in_review.look()
    assert ("rita", "approve", False) in in_review.decisions()
    eventually(lambda: sum("eve is nobody of shop" in text for text in in_review.ours()) == 1)
    assert sum("dora is not reviewer" in text for text in in_review.ours()) == 1


def test_statuses_one_comment_and_links_are_seen_there(in_review: OnGitHub) -> None:
    fake, number = in_review.github.fake, in_review.number
    head = str(fake.repository.head(FEATURE))
    shop = in_review.shop
    for step in (Step.RESERVE_DEVELOPMENT, Step.PROVISION_DEVELOPMENT):
        shop.perform(step, kind="environment_ready", address="https://shop-1.dev.example")
    shop.gate(Step.WAIT_FOR_CODE)
    shop.perform(Step.DEPLOY_DEVELOPMENT, kind="deployed", address="https://shop-1.dev.example", commit=head)
    facts: dict[str, Any] = {"tests": 3, "executed": 3, "failed": 0, "seconds": 1.0, "red": ""}
    shop.perform(Step.CHECK_UNIT, kind="suite_done", suite="unit", commit=head, **facts)
    eventually(lambda: in_review.statuses(head).get("delivery/checks/unit", ("",))[0] == "success")
    state, url = in_review.statuses(head)["delivery/development"]
    assert state == "success"
    assert url == "" or "/dags/feature_delivery_shop/runs/SHOP-1" in url
    eventually(lambda: any(one.environment == "development-shop-1" for one in fake.deployments))
    eventually(lambda: any("https://shop-1.dev.example" in text for text in in_review.ours()))
    fake.write(number, "tess-gh", "/status")
    in_review.look()
    eventually(lambda: sum("### Delivery of SHOP-1" in text for text in in_review.ours()) == 1)
    eventually(lambda: any(f"pull/{number}" in c.body for c in fake.comments if c.on == 1))


def test_a_look_with_nothing_new_is_one_listing_each(in_review: OnGitHub) -> None:
    in_review.look()
    eventually(quiet)
    with begin() as unit:  # an hour later: what we wrote ourselves is behind us, overlap and all
        moment = (now() + timedelta(hours=1)).isoformat()
        marks = {"looked_at": moment, "requests": moment, "issues": moment}
        keep(unit, settings.project("shop").name, MARKS, json.dumps(marks).encode())
    in_review.github.forget()
    in_review.look()
    calls = [(call.method, call.path) for call in in_review.github.server.calls()]
    assert [path for method, path in calls if method != "GET"] == []
    paths = [path.removeprefix("/repos/shop/cart") for _, path in calls]
    assert [path for path in paths if path in {"/pulls", "/issues"}] == ["/pulls", "/issues"]
    assert not [path for path in paths if "/reviews" in path or "/comments" in path]


def quiet() -> bool:
    """Say whether nothing is left to be told outside."""
    with begin() as unit:
        return unit.books.outbox_next() is None


def test_a_merge_by_hand_is_put_right(in_review: OnGitHub) -> None:
    fake, number = in_review.github.fake, in_review.number
    before = fake.repository.head(PRODUCTION)
    fake.merge(number, "dora-gh", method="squash")
    assert fake.repository.head(PREPROD) != before
    in_review.look()
    eventually(lambda: fake.repository.head(PREPROD) == before)
    eventually(lambda: any("Merging by hand ships nothing." in text for text in in_review.ours()))
    assert in_review.feature().state == "active"


def test_a_request_towards_production_is_pointed_elsewhere(on_github: OnGitHub) -> None:
    shop, fake = on_github.shop, on_github.github.fake
    shop.start()
    shop.register()
    head, production = str(fake.repository.head(FEATURE)), str(fake.repository.head(PRODUCTION))
    facts: dict[str, Any] = {"branch": FEATURE, "head": head, "production": production, "created": False}
    shop.perform(Step.CREATE_BRANCH, kind="branch_ready", ahead=True, authors=[], **facts)
    item = fake.open_pull("dora-gh", FEATURE, PRODUCTION, title="Gift cards")
    on_github.look()
    outbox.drain(rounds.control())
    eventually(lambda: item.pull is not None and item.pull.base == PREPROD)


def test_everything_about_it_is_examined(on_github: OnGitHub) -> None:
    answer = on_github.shop.person("max").get("/projects/shop/examination")
    assert answer.status_code == 200, answer.text
    found = {one["what"]: one for one in answer.json()}
    assert found["shop: git"]["well"]
    assert found["shop: people"]["well"]
    assert any(what.startswith("shop: host github, ") for what in found)
    assert any(what.startswith("shop: tracker github, ") for what in found)
    assert BOT_TOKEN not in answer.text


def test_a_new_issue_is_written_there_for_a_feature_without_a_key(on_github: OnGitHub) -> None:
    answer = on_github.shop.person("max").post("/projects/shop/features", json={"title": "Wish lists"})
    assert answer.status_code == 201, answer.text
    key = answer.json()["key"]
    assert on_github.github.fake.items[int(key.partition("-")[2])].title == "Wish lists"
