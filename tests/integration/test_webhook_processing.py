"""Stored webhooks become looks at the host: exactly once, in any order, whoever dies meanwhile."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.models.dagrun import DagRun
from sqlalchemy import select

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.domain.errors import Unavailable
from feature_delivery.domain.hints import Hint
from feature_delivery.domain.names import BranchName, FeatureKey, ProjectName
from feature_delivery.domain.records import WebhookDelivery, now
from feature_delivery.services.control import reconcile, webhooks
from feature_delivery.services.control.kept import RESERVED
from feature_delivery.services.control.webhooks import Incoming, process, receive
from feature_delivery.web import rounds, webhook_routes
from feature_delivery.web.transaction import begin, session
from tests.support.airflow import store_dag
from tests.support.web_app import SECRET, Repository, Shop
from tests.support.webhooks import Sent, gitea, github, gitlab, own, post

SHOP = ProjectName("shop")


class Killed(BaseException):
    """What ends a process is no error that anybody handles."""


@pytest.fixture
def quiet(quiet: Shop) -> Shop:
    """One that has been looked at once: what is pushed from now on is new."""
    assert rounds.reconcile_all() == []
    return quiet


def push_of(key: str, host: str = "github", *, commit: str = "a" * 40, delivery: str = "") -> Sent:
    ref = f"refs/heads/feature/{key}-cards"
    match host:
        case "github":
            return github("push", {"ref": ref, "after": commit, "sender": {"login": "dora"}}, SECRET, delivery=delivery)
        case "gitea":
            return gitea("push", {"ref": ref, "after": commit, "pusher": {"login": "dora"}}, SECRET, delivery=delivery)
        case "gitlab":
            body = {"object_kind": "push", "ref": ref, "after": commit, "user_username": "dora"}
            return gitlab("Push Hook", body, SECRET, delivery=delivery)
    return own({"ref": ref, "new": commit, "pusher": "dora"}, SECRET, delivery=delivery)


def deliver(shop: Shop, sent: Sent) -> bool:
    """Deliver; says whether it was known."""
    answer = post(shop, sent)
    assert answer.status_code == 202, answer.text
    return bool(answer.json()["repeated"])


def rows() -> list[WebhookDelivery]:
    """What hosts have sent; our own listing is not among them."""
    with session() as opened:
        found = opened.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))  # type: ignore[arg-type]
        return [row for row in found if row.host != "ls-remote"]


def waiting() -> int:
    return sum(row.processed_at is None for row in rows())


def runs() -> list[str]:
    with session() as opened:
        return sorted(opened.scalars(select(DagRun.run_id)))


def started(found: list[WebhookDelivery]) -> int:
    return sum("started by" in row.result for row in found)


HOSTS = ("github", "gitea", "gitlab", "feature-delivery")


@pytest.mark.parametrize("host", HOSTS)
def test_a_push_in_the_words_of_any_host_starts_one_delivery(quiet: Shop, host: str) -> None:
    commit = quiet.repository.push("feature/SHOP-1-cards", "cards")
    assert not deliver(quiet, push_of("SHOP-1", host, commit=commit, delivery="d-1"))
    assert deliver(quiet, push_of("SHOP-1", host, commit=commit, delivery="d-1"))
    assert process(rounds.control()) == (1, 0)
    assert deliver(quiet, push_of("SHOP-1", host, commit=commit, delivery="d-1"))
    assert process(rounds.control()) == (0, 0)
    assert runs() == ["SHOP-1"]
    (row,) = rows()
    assert "SHOP-1: started by dora" in row.result


def test_the_same_delivery_at_the_same_moment_is_stored_once(quiet: Shop) -> None:
    commit = quiet.repository.push("feature/SHOP-1-cards", "cards")
    sent = push_of("SHOP-1", commit=commit, delivery="same")
    with ThreadPoolExecutor(12) as pool:
        repeated = list(pool.map(lambda _: deliver(quiet, sent), range(36)))
    assert repeated.count(False) == 1
    assert len(rows()) == 1
    process(rounds.control())
    assert runs() == ["SHOP-1"]


def test_many_who_process_at_once_start_each_delivery_once(quiet: Shop) -> None:
    keys = [f"SHOP-{number}" for number in range(1, 6)]
    commits = {key: quiet.repository.push(f"feature/{key}-cards", key) for key in keys}
    for number, (key, host) in enumerate(itertools.product(keys, HOSTS)):
        deliver(quiet, push_of(key, host, commit=commits[key], delivery=f"delivery-{number}"))
    with ThreadPoolExecutor(6) as pool:
        for _ in pool.map(lambda _: process(rounds.control(), limit=3), range(24)):
            pass
    while process(rounds.control())[0]:
        pass
    assert waiting() == 0
    assert runs() == sorted(keys)
    with begin() as unit:
        assert [feature.delivery for feature in unit.books.features(SHOP)] == [1] * 5


ORDERS = list(itertools.permutations(["first", "second", "created"]))


def test_in_whatever_order_they_come_the_result_is_what_the_host_says(quiet: Shop) -> None:
    """The branch is where it is, not where the last webhook said."""
    for number, order in enumerate(ORDERS, 1):
        key = f"SHOP-{number}"
        first = quiet.repository.push(f"feature/{key}-cards", "first")
        second = quiet.repository.push(f"feature/{key}-cards", "second", base=f"origin/feature/{key}-cards")
        made = {"ref": f"feature/{key}-cards", "ref_type": "branch", "sender": {"login": "dora"}}
        sent = {
            "first": push_of(key, commit=first, delivery=f"{key}-first"),
            "second": push_of(key, commit=second, delivery=f"{key}-second"),
            "created": github("create", made, SECRET, delivery=f"{key}-created"),
        }
        for name in (*order, *order):
            deliver(quiet, sent[name])
            process(rounds.control())
        with begin() as unit:
            feature = unit.books.feature(SHOP, FeatureKey(key))
            assert feature
            assert [(one.number, one.commit) for one in unit.books.attempts(feature)] == [(1, second)], order
    assert runs() == sorted(f"SHOP-{number}" for number in range(1, len(ORDERS) + 1))
    assert waiting() == 0


# --- who dies


def test_what_was_stored_is_processed_by_whoever_comes_after_a_crash(quiet: Shop) -> None:
    """Nothing of a webhook is in the memory of the process that took it."""
    commit = quiet.repository.push("feature/SHOP-1-cards", "cards")
    deliver(quiet, push_of("SHOP-1", commit=commit))
    assert (waiting(), runs()) == (1, [])
    counts = rounds.housekeeping()
    assert (counts["webhooks_processed"], counts["webhooks_left"]) == (1, 0)
    assert (waiting(), runs()) == (0, ["SHOP-1"])


@pytest.mark.parametrize("place", ["before the look", "in the look", "after the look", "while marking"])
def test_a_crash_anywhere_in_processing_loses_nothing_and_does_nothing_twice(
    quiet: Shop, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    keys = ["SHOP-1", "SHOP-2"]
    for key in keys:
        commit = quiet.repository.push(f"feature/{key}-cards", key)
        deliver(quiet, push_of(key, commit=commit))

    def die(*_arguments: object, **_more: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if place == "before the look":
            patched.setattr(webhooks, "reconcile", die)
        elif place == "in the look":
            patched.setattr(reconcile, "keep", die)  # both have started, the listing is not kept yet
        elif place == "after the look":
            patched.setattr(SqlBooks, "webhook", _only_the_listing(die))
        else:
            patched.setattr(SqlBooks, "webhook", _dying_at(2, die))
        with pytest.raises(Killed):
            process(rounds.control())
    assert waiting() == 2
    assert runs() == ([] if place == "before the look" else keys)
    assert process(rounds.control()) == (2, 0)
    assert (waiting(), runs()) == (0, keys)
    assert process(rounds.control()) == (0, 0)
    with begin() as unit:
        assert [feature.delivery for feature in unit.books.features(SHOP)] == [1, 1]


def _only_the_listing(die: Any) -> Any:
    real = SqlBooks.webhook
    return lambda self, project, name: real(self, project, name) if name in RESERVED else die()


def _dying_at(number: int, die: Any) -> Any:
    real, calls = SqlBooks.webhook, itertools.count(1)

    def webhook(self: SqlBooks, project: ProjectName, name: str) -> Any:
        return die() if name not in RESERVED and next(calls) == number else real(self, project, name)

    return webhook


def test_an_answer_of_202_means_that_it_is_stored(quiet: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the answer, not after it: a transaction that cannot be committed answers something else."""

    def die(*_arguments: object) -> bool:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(webhook_routes, "receive", die)
    assert post(quiet, push_of("SHOP-1")).status_code == 500
    assert rows() == []


# --- who is down


@pytest.fixture
def other(quiet: Shop, tmp_path: Path) -> Repository:
    """A second project, stored before the first in every order."""
    (tmp_path / "other").mkdir()
    repository = Repository(tmp_path / "other")
    text = (tmp_path / "projects" / "shop.yaml").read_text()
    text = text.replace("name: shop", "name: a_shop").replace(str(quiet.repository.bare), str(repository.bare))
    (tmp_path / "projects" / "a_shop.yaml").write_text(text)
    with session() as opened:
        store_dag(opened, "feature_delivery_a_shop")
    assert rounds.reconcile_all() == []
    return repository


def incoming(number: int, hint: Hint) -> Incoming:
    return Incoming(host="github", delivery_id=f"d-{number}", event="push", headers={}, body=b"{}", hint=hint)


def down(patched: pytest.MonkeyPatch, repository: Repository) -> None:
    """Make the host of a repository not answer."""
    real = GitRepository.heads

    def heads(self: GitRepository) -> Any:
        if str(repository.bare) in str(self._address):
            raise Unavailable("It does not answer.")
        return real(self)

    patched.setattr(GitRepository, "heads", heads)


def test_a_project_whose_host_is_down_keeps_no_other_waiting(quiet: Shop, other: Repository) -> None:
    lost = Hint(branch=BranchName("feature/SHOP-5-cards"), person="dora", pushed=True)
    with begin() as unit:
        for number in range(20):
            assert receive(unit, ProjectName("a_shop"), incoming(number, lost))
    with pytest.MonkeyPatch.context() as patched:
        down(patched, other)
        assert process(rounds.control(), limit=5) == (0, 5)
        commit = quiet.repository.push("feature/SHOP-1-cards", "cards")
        for number in range(3):
            deliver(quiet, push_of("SHOP-1", commit=commit, delivery=f"mine-{number}"))
        for _ in range(5):
            process(rounds.control(), limit=5)
        assert [row.project for row in rows() if row.processed_at] == [SHOP] * 3
        assert runs() == ["SHOP-1"]
    assert process(rounds.control()) == (20, 0)
    assert waiting() == 0


def test_what_a_round_has_no_time_for_comes_first_in_the_next(quiet: Shop, other: Repository) -> None:
    lost = Hint(branch=BranchName("feature/SHOP-5-cards"), person="dora", pushed=True)
    with begin() as unit:
        receive(unit, ProjectName("a_shop"), incoming(1, lost))
    deliver(quiet, push_of("SHOP-1", delivery="mine"))
    clock = iter((0.0, 10.0))
    with pytest.MonkeyPatch.context() as patched:
        down(patched, other)
        patched.setattr(webhooks, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert process(rounds.control(), until=5.0) == (0, 2), "one look took all the time"
        assert {row.project: row.tries for row in rows()} == {"a_shop": 1, "shop": 0}
        patched.undo()
        assert rounds.reconcile_all(until=0.0) == []
        assert process(rounds.control(), until=0.0) == (0, 2)
        assert process(rounds.control(), limit=1) == (1, 0)
    assert [row.project for row in rows() if row.processed_at] == [SHOP], "that without a look came first"


def test_a_host_that_stays_down_is_left_to_reconciliation(
    quiet: Shop, other: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "GIVE_UP_AFTER", 3)
    down(monkeypatch, other)
    with begin() as unit:
        receive(unit, ProjectName("a_shop"), incoming(1, Hint(branch=BranchName("main"), pushed=True)))
    assert [process(rounds.control()) for _ in range(4)] == [(0, 1), (0, 1), (1, 0), (0, 0)]
    (row,) = rows()
    assert row.tries == 3
    assert row.result


def test_a_fault_of_ours_in_one_project_keeps_no_other_waiting(
    quiet: Shop, other: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = reconcile.reconcile

    def broken(control: Any, project: Any, hints: Any = None) -> Any:
        if project.name == "a_shop":
            raise ZeroDivisionError
        return real(control, project, hints)

    monkeypatch.setattr(webhooks, "reconcile", broken)
    with begin() as unit:
        receive(unit, ProjectName("a_shop"), incoming(1, Hint(branch=BranchName("main"), pushed=True)))
    commit = quiet.repository.push("feature/SHOP-1-cards", "cards")
    deliver(quiet, push_of("SHOP-1", commit=commit))
    assert process(rounds.control()) == (1, 1)
    assert runs() == ["SHOP-1"]
    assert "ZeroDivisionError" in caplog.text
    (left,) = [row for row in rows() if row.processed_at is None]
    assert "ZeroDivisionError" not in left.result


def test_a_project_that_is_gone_is_done_with(quiet: Shop, tmp_path: Path) -> None:
    with begin() as unit:
        receive(unit, ProjectName("gone"), incoming(1, Hint(branch=BranchName("main"), pushed=True)))
    assert process(rounds.control()) == (1, 0)
    (row,) = rows()
    assert "no project 'gone'" in row.result


# --- what it means to this project


def test_what_means_nothing_to_the_project_is_counted_and_its_host_is_not_asked(
    quiet: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "reconcile", lambda *_: pytest.fail("nobody needed to look"))
    for ref in ("refs/heads/wip/try", "refs/heads/candidate/SHOP-1"):
        deliver(quiet, github("push", {"ref": ref, "after": "a" * 40}, SECRET))
    deliver(quiet, github("issues", {"action": "closed", "issue": {"number": 42}}, SECRET))
    deliver(quiet, github("issue_comment", {"issue": {"number": 42, "pull_request": {}}, "comment": {}}, SECRET))
    assert process(rounds.control()) == (4, 0)
    assert [row.ignored for row in rows()] == [
        *("another branch", "our own candidate", "an issue that is none of the project's"),
        "a request on another host than the project's",
    ]
    found = quiet.person("max").get("/webhooks/shop/deliveries").json()
    assert found["counts"] == {"waiting": 0, "processed": 0, "ignored": 4}


def test_many_webhooks_of_one_round_are_one_look_with_each_hint_once(
    quiet: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []

    def look(_control: object, _project: object, hints: object) -> list[str]:
        looks.append(hints)
        return ["Seen."]

    monkeypatch.setattr(webhooks, "reconcile", look)
    for number in range(50):
        deliver(quiet, push_of(f"SHOP-{1 + number % 2}", delivery=f"number-{number}"))
    assert process(rounds.control()) == (50, 0)
    branches = [BranchName(f"feature/SHOP-{number}-cards") for number in (1, 2)]
    assert looks == [[Hint(branch=branch, person="dora", pushed=True) for branch in branches]]
    assert {row.result for row in rows()} == {"Seen."}


def test_a_webhook_stored_by_an_older_version_makes_us_look_everywhere(
    quiet: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []

    def look(_control: object, _project: object, hints: object) -> list[str]:
        looks.append(hints)
        return []

    monkeypatch.setattr(webhooks, "reconcile", look)
    with begin() as unit:
        old = WebhookDelivery(project=SHOP, delivery_id="old", host="webhook", event="push", body=b'{"ref": "x"}')
        unit.books.add(old)
    deliver(quiet, push_of("SHOP-1"))
    assert process(rounds.control()) == (2, 0)
    assert looks == [None]


def test_housekeeping_forgets_what_nobody_looks_into_any_more(quiet: Shop) -> None:
    deliver(quiet, push_of("SHOP-1", delivery="old delivery"))
    deliver(quiet, push_of("SHOP-1", delivery="new delivery"))
    process(rounds.control())
    with begin() as unit:
        row = unit.books.webhook(SHOP, "old delivery")
        assert row
        row.received_at = now() - timedelta(days=7, seconds=1)
    assert rounds.housekeeping()["webhooks_pruned"] == 1
    with begin() as unit:
        kept = [unit.books.webhook(SHOP, name) for name in ("old delivery", "new delivery")]
        assert [len(row.body) > 0 for row in kept if row] == [False, True]
    assert deliver(quiet, push_of("SHOP-1", delivery="old delivery")), "it is still known"
