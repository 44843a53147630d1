"""Every step on a real repository: what it does, that it may be done twice, and how it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from feature_delivery.domain import suites
from feature_delivery.domain.errors import Conflict, Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.domain.plan import DeliveryPlan
from feature_delivery.domain.process import Step
from feature_delivery.domain.suites import CaseState
from feature_delivery.domain.work import (
    BranchesDeleted,
    BranchReady,
    CandidateBuilt,
    Deployed,
    Done,
    Failed,
    Moved,
    PromotionWork,
    SuiteDone,
)
from feature_delivery.ports.tracker import IssueState
from feature_delivery.services.work.job import Job
from tests.support.bench import BRANCH, DELIVERY, KEY, Bench, FakeProbe, environment
from tests.support.git_world import PRODUCTION

PREPROD = BranchName("preprod")
CANDIDATE = BranchName("candidate/SHOP-1")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.make(tmp_path)


def push(bench: Bench, files: dict[str, str | None] | None = None, branch: str = BRANCH) -> CommitSha:
    base = bench.world.branches().get(branch) or bench.world.head(PRODUCTION)
    return bench.world.commit(branch, files or {"cards.py": "cards = 1\n"}, on=base)


def promotion(bench: Bench) -> PromotionWork:
    """Push, build and promote."""
    push(bench)
    before = bench.world.head(PRODUCTION)
    candidate = bench.candidate()
    bench.run(Step.PROMOTE, candidate=candidate)
    return PromotionWork(before=before, candidate=candidate.commit, restored=None)


class TestIntake:
    def test_an_issue_is_found_or_created_once(self, bench: Bench) -> None:
        made = bench.run(Step.REGISTER_FEATURE)
        again = bench.run(Step.REGISTER_FEATURE, title="Another title")
        assert made == again
        assert (made.title, made.taken) == ("Gift cards", False)

    def test_an_issue_in_progress_is_taken(self, bench: Bench) -> None:
        bench.run(Step.REGISTER_FEATURE)
        bench.tracker.move(KEY, IssueState.IN_PROGRESS)
        assert bench.run(Step.REGISTER_FEATURE).taken

    def test_a_tracker_that_lets_nobody_in_stops_no_delivery(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object, **__: object) -> object:
            raise Misconfigured("Jira refuses the token of Connection 'jira'.")

        monkeypatch.setattr(bench.tracker, "find", refused)
        done = bench.run(Step.REGISTER_FEATURE)
        assert (done.title, done.issue_url, done.taken) == ("Gift cards", "", False)
        assert "refuses the token" in done.trouble

    def test_an_issue_that_is_not_there_stops_the_delivery_where_trackers_give_out_keys(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object, **__: object) -> object:
            raise Refused("Jira has no issue SHOP-1.")

        monkeypatch.setattr(bench.tracker, "create", refused)
        with pytest.raises(Refused, match="no issue SHOP-1"):
            bench.run(Step.REGISTER_FEATURE)

    def test_a_feature_without_a_title_is_called_by_its_key(self, bench: Bench) -> None:
        assert bench.run(Step.REGISTER_FEATURE, title="").title == "SHOP-1"

    def test_a_branch_is_created_from_production_and_found_the_next_time(self, bench: Bench) -> None:
        made = bench.run(Step.CREATE_BRANCH)
        assert made == BranchReady(
            branch=BranchName("feature/SHOP-1-gift-cards"),
            head=bench.world.head(PRODUCTION),
            production=bench.world.head(PRODUCTION),
            created=True,
            ahead=False,
        )
        assert bench.run(Step.CREATE_BRANCH) == replace(made, created=False)

    def test_a_branch_that_has_commits_says_who_wrote_them(self, bench: Bench) -> None:
        head = push(bench)
        found = bench.run(Step.CREATE_BRANCH, branch=None)
        assert (found.branch, found.head, found.ahead, found.created) == (BRANCH, head, True, False)
        assert found.authors == ("dev@example.com",)

    def test_two_branches_of_one_feature_are_refused_by_name(self, bench: Bench) -> None:
        push(bench)
        push(bench, branch="feature/SHOP-1-other")
        with pytest.raises(Refused, match=r"feature/SHOP-1-cards, feature/SHOP-1-other"):
            bench.run(Step.CREATE_BRANCH, branch=None)

    def test_the_branch_of_a_longer_key_is_another_features(self, bench: Bench) -> None:
        push(bench, branch="feature/SHOP-12-cards")
        assert bench.run(Step.CREATE_BRANCH).created

    def test_a_named_branch_wins(self, bench: Bench) -> None:
        push(bench)
        push(bench, branch="feature/SHOP-1-other")
        found = bench.run(Step.CREATE_BRANCH, branch=BranchName("feature/SHOP-1-other"))
        assert found.branch == "feature/SHOP-1-other"

    @pytest.mark.parametrize("branch", ["production", "preprod", "candidate/SHOP-1"])
    def test_a_branch_of_the_delivery_itself_is_no_feature_branch(self, bench: Bench, branch: str) -> None:
        with pytest.raises(Refused, match="no branch for a feature"):
            bench.run(Step.CREATE_BRANCH, branch=BranchName(branch))

    def test_a_branch_that_vanished_is_not_made_anew_from_production(self, bench: Bench) -> None:
        with pytest.raises(NotFound, match="Push it again"):
            bench.run(Step.CREATE_BRANCH, branch=BRANCH, attempt=2)

    def test_a_repository_without_production_is_a_sentence(self, bench: Bench) -> None:
        bench.world.branch("elsewhere", bench.world.head(PRODUCTION))
        bench.world.delete(PRODUCTION)
        with pytest.raises(Misconfigured, match="has no branch 'production'"):
            bench.run(Step.CREATE_BRANCH)


class TestEnvironments:
    def test_a_commit_is_deployed_where_its_permit_says(self, bench: Bench) -> None:
        head = push(bench)
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development"))
        done = bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development", 2))
        assert done == Deployed(address="http://development-shop-1.shop.test", commit=head, health_path="/healthz")

    def test_a_stalled_task_of_an_older_generation_does_not_deploy(self, bench: Bench) -> None:
        push(bench)
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development", 5))
        with pytest.raises(Conflict):
            bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development", 4))

    def test_a_commit_without_a_plan_is_refused_with_the_way_out(self, bench: Bench) -> None:
        head = push(bench, {"delivery.yaml": None})
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development"))
        with pytest.raises(Refused, match=f"{head[:10]} has no delivery.yaml.*feature-delivery init"):
            bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development"))

    def test_production_is_made_by_its_first_deploy(self, bench: Bench) -> None:
        moved = promotion(bench)
        done = bench.run(Step.DEPLOY_PRODUCTION, environment=environment("production"), promotion=moved)
        assert done.commit == moved.candidate

    def test_what_is_destroyed_is_gone_and_gone_already_is_done(self, bench: Bench) -> None:
        bench.run(Step.PROVISION_PREPROD, environment=environment("preprod"))
        for generation in (2, 3):
            assert isinstance(bench.run(Step.DESTROY_PREPROD, environment=environment("preprod", generation)), Done)
        assert bench.fake.environments == {}
        assert bench.run(Step.DESTROY_PREPROD).note == "nothing was there"

    def test_an_environment_that_stays_is_tried_again(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.run(Step.PROVISION_PREPROD, environment=environment("preprod"))
        monkeypatch.setattr(bench.fake, "destroy", lambda _ref: None)
        with pytest.raises(Unavailable, match="still there"):
            bench.run(Step.DESTROY_PREPROD, environment=environment("preprod", 2))


class TestSuites:
    def deployed(self, bench: Bench) -> CommitSha:
        head = push(bench)
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development"))
        bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development"))
        return head

    def test_a_green_suite_is_counted(self, bench: Bench) -> None:
        head = self.deployed(bench)
        done = bench.run(Step.CHECK_UNIT, environment=environment("development"))
        assert isinstance(done, SuiteDone)
        assert (done.suite, done.commit, done.tests, done.executed, done.failed, done.red) == (
            "unit",
            head,
            1,
            1,
            0,
            "",
        )
        assert any("works" in line and "passed" in line for line in bench.log)

    def test_a_red_suite_is_a_result_with_its_failures_first(self, bench: Bench) -> None:
        head = self.deployed(bench)
        bench.fake.cases[head, "unit"] = (
            suites.TestCase("fine", CaseState.PASSED, 0.1),
            suites.TestCase("broken", CaseState.FAILED, 0.2, "assert 1 == 2"),
        )
        done = bench.run(Step.CHECK_UNIT, environment=environment("development"))
        assert done.red == "1 of 2 unit tests failed, first 'broken'."
        assert [case.name for case in done.cases] == ["broken", "fine"]
        assert "broken: assert 1 == 2" in bench.log

    def test_of_thousands_of_tests_only_those_are_kept_that_somebody_may_be_shown(self, bench: Bench) -> None:
        head = self.deployed(bench)
        fine = [suites.TestCase(f"fine_{n}", CaseState.PASSED, 0.1) for n in range(5000)]
        bench.fake.cases[head, "unit"] = (*fine, suites.TestCase("broken", CaseState.FAILED, 0.2, "no"))
        done = bench.run(Step.CHECK_UNIT, environment=environment("development"))
        assert (done.tests, len(done.cases), done.cases[0].name) == (5001, 200, "broken")

    def test_a_suite_that_lost_tests_is_red(self, bench: Bench) -> None:
        self.deployed(bench)
        facts = {"environment": environment("development"), "executed_in_production": {"unit": 10}}
        assert "tests were lost" in bench.run(Step.CHECK_UNIT, **facts).red

    def test_the_branch_does_not_set_its_own_exam(self, bench: Bench) -> None:
        push(bench, {"delivery.yaml": DELIVERY.replace("check unit", "skip everything"), "cards.py": "1"})
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development"))
        bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development"))
        bench.run(Step.CHECK_UNIT, environment=environment("development"))
        assert "Run check unit" in bench.log
        assert "Run skip everything" not in bench.log

    def test_the_candidate_does_not_set_its_own_exam_in_production_either(self, bench: Bench) -> None:
        push(bench, {"delivery.yaml": DELIVERY.replace("check integration", "skip everything")})
        moved = promotion(bench)
        facts = {"environment": environment("production"), "promotion": moved}
        bench.run(Step.DEPLOY_PRODUCTION, **facts)
        bench.run(Step.TEST_PRODUCTION, **facts)
        assert "Run check integration" in bench.log

    def test_a_repository_whose_production_has_no_plan_is_adopted_first(self, tmp_path: Path) -> None:
        bench = Bench.make(tmp_path, delivery=None)
        push(bench, {"delivery.yaml": DELIVERY})
        bench.run(Step.PROVISION_DEVELOPMENT, environment=environment("development"))
        bench.run(Step.DEPLOY_DEVELOPMENT, environment=environment("development"))
        with pytest.raises(Refused, match=r"'production' has no delivery\.yaml yet.*Adopt"):
            bench.run(Step.CHECK_UNIT, environment=environment("development"))


class TestCandidates:
    def test_a_candidate_is_built_published_and_the_same_the_next_time(self, bench: Bench) -> None:
        head = push(bench)
        built = bench.run(Step.BUILD_CANDIDATE)
        assert isinstance(built, CandidateBuilt)
        assert (built.base, built.feature, built.plan_changed) == (bench.world.head(PRODUCTION), head, False)
        assert bench.world.head(CANDIDATE) == built.commit
        assert bench.run(Step.BUILD_CANDIDATE) == built

    def test_a_conflict_names_the_files(self, bench: Bench) -> None:
        push(bench, {"README": "feature\n"})
        bench.world.commit(PRODUCTION, {"README": "production\n"})
        failed = bench.run(Step.BUILD_CANDIDATE)
        assert isinstance(failed, Failed)
        assert failed.cause == "conflict"
        assert "conflict in README" in failed.reason
        assert CANDIDATE not in bench.world.branches()

    def test_a_changed_plan_is_said(self, bench: Bench) -> None:
        push(bench, {"delivery.yaml": DELIVERY.replace("/healthz", "/health")})
        assert bench.run(Step.BUILD_CANDIDATE).plan_changed

    def test_a_broken_plan_is_refused_before_it_is_published(self, bench: Bench) -> None:
        push(bench, {"delivery.yaml": "version: 99"})
        with pytest.raises(Misconfigured):
            bench.run(Step.BUILD_CANDIDATE)
        assert CANDIDATE not in bench.world.branches()

    def test_a_commit_pushed_to_production_by_hand_is_foreign(self, bench: Bench) -> None:
        push(bench)
        known = bench.world.head(PRODUCTION)
        hotfix = bench.world.commit(PRODUCTION, {"fix.py": "1"}, message="Hotfix")
        failed = bench.run(Step.BUILD_CANDIDATE, production_commit=known)
        assert isinstance(failed, Failed)
        assert (failed.cause, failed.commit) == ("foreign", hotfix)
        assert f"feature-delivery adopt {hotfix}" in failed.reason

    def test_a_promotion_that_is_not_reported_yet_is_waited_for(self, bench: Bench) -> None:
        known = bench.world.head(PRODUCTION)
        promotion(bench)
        other = push(bench, {"other.py": "1"}, branch="feature/SHOP-2-x")
        with pytest.raises(Unavailable, match="another delivery"):
            bench.run(Step.BUILD_CANDIDATE, production_commit=known, commit=other)

    def test_a_feature_on_top_of_an_undelivered_one_is_refused(self, bench: Bench) -> None:
        below = push(bench, {"below.py": "1"}, branch="feature/SHOP-2-below")
        bench.world.commit(BRANCH, {"cards.py": "1"}, on=below)
        others = {BranchName("feature/SHOP-2-below"): below}
        with pytest.raises(Refused, match="stands on feature/SHOP-2-below"):
            bench.run(Step.BUILD_CANDIDATE, other_branches=others)

    def test_a_commit_of_another_branch_that_is_gone_keeps_nobody(self, bench: Bench) -> None:
        push(bench)
        others = {BranchName("feature/SHOP-2-gone"): CommitSha("e" * 40)}
        assert isinstance(bench.run(Step.BUILD_CANDIDATE, other_branches=others), CandidateBuilt)


class TestRefresh:
    def test_nothing_is_done_while_production_is_where_it_was(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        done = bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"))
        assert isinstance(done, Done)
        assert bench.reported == []
        assert bench.fake.calls == []

    def test_a_candidate_is_rebuilt_deployed_and_tested_when_production_has_moved(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        moved = bench.world.commit(PRODUCTION, {"other.py": "1"})
        done = bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"))
        assert isinstance(done, Done)
        built, deployed, tested = bench.reported
        assert isinstance(built, CandidateBuilt)
        assert isinstance(deployed, Deployed)
        assert isinstance(tested, SuiteDone)
        assert built.base == moved
        assert built.commit == deployed.commit == tested.commit == bench.world.head(CANDIDATE)

    def test_a_refresh_that_was_killed_goes_on_where_it_stood(self, bench: Bench) -> None:
        push(bench)
        candidate = replace(bench.candidate(), integration_green=False)
        bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"))
        assert [result.kind for result in bench.reported] == ["deployed", "suite_done"]

    def test_a_red_refresh_stops(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        bench.world.commit(PRODUCTION, {"other.py": "1"})
        bench.problem = "It is red."
        with pytest.raises(Refused, match=r"It is red\."):
            bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"))

    def test_a_conflict_sends_the_feature_back(self, bench: Bench) -> None:
        push(bench, {"README": "feature\n"})
        candidate = bench.candidate()
        bench.world.commit(PRODUCTION, {"README": "production\n"})
        failed = bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"))
        assert isinstance(failed, Failed)
        assert failed.cause == "conflict"

    def test_a_begun_promotion_keeps_its_candidate(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        bench.world.commit(PRODUCTION, {"other.py": "1"})
        done = bench.run(Step.REFRESH_CANDIDATE, candidate=candidate, environment=environment("preprod"), done=True)
        assert isinstance(done, Done)
        assert bench.reported == []


class TestPromotion:
    def test_production_moves_to_the_candidate_and_preprod_waits_for_the_verdict(self, bench: Bench) -> None:
        push(bench)
        before = bench.world.head(PRODUCTION)
        bench.world.branch(PREPROD, before)
        candidate = bench.candidate()
        assert bench.run(Step.PROMOTE, candidate=candidate) == Moved(commit=candidate.commit)
        assert bench.world.head(PRODUCTION) == candidate.commit
        assert bench.world.head(PREPROD) == before, "hosts would show the request as merged before it was kept"

    def test_a_promotion_that_was_killed_after_the_push_is_recognised(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        known = bench.world.head(PRODUCTION)
        for done in (False, False, True):
            moved = bench.run(Step.PROMOTE, candidate=candidate, production_commit=known, done=done)
            assert moved.commit == candidate.commit

    def test_a_candidate_that_is_not_what_was_tested_does_not_ship(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        tree = bench.repository.tree_of(bench.world.head(PRODUCTION))
        with pytest.raises(Refused, match="was tested"):
            bench.run(Step.PROMOTE, candidate=replace(candidate, tree=tree))
        assert bench.world.head(PRODUCTION) == candidate.base

    def test_a_hotfix_in_between_freezes(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        hotfix = bench.world.commit(PRODUCTION, {"fix.py": "1"})
        failed = bench.run(Step.PROMOTE, candidate=candidate, production_commit=candidate.base)
        assert isinstance(failed, Failed)
        assert (failed.cause, failed.commit) == ("foreign", hotfix)
        assert bench.world.head(PRODUCTION) == hotfix

    def test_a_stale_candidate_says_what_to_clear(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        bench.world.commit(PRODUCTION, {"other.py": "1"})
        failed = bench.run(Step.PROMOTE, candidate=candidate)
        assert isinstance(failed, Failed)
        assert failed.cause == "stale"
        assert "production.wait_for_turn" in failed.reason

    def test_production_that_was_forced_back_after_the_promotion_is_a_conflict(self, bench: Bench) -> None:
        push(bench)
        candidate = bench.candidate()
        with pytest.raises(Conflict, match="by force"):
            bench.run(Step.PROMOTE, candidate=candidate, done=True)

    def test_a_migration_without_a_way_back_is_said(self, bench: Bench) -> None:
        irreversible = "migration: {forward: migrate up, reversible: false}"
        push(
            bench,
            {"delivery.yaml": DELIVERY.replace("migration: {forward: migrate up, back: migrate down}", irreversible)},
        )
        assert bench.run(Step.PROMOTE, candidate=bench.candidate()).irreversible

    def test_a_commit_that_cannot_be_read_moves_nothing_and_takes_back_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It could be read when it was tested; meanwhile we were upgraded, and ask for more."""
        push(bench)
        candidate = bench.candidate()

        def stricter(_job: Job, _commit: CommitSha) -> DeliveryPlan:
            raise Misconfigured("Field 'start' is missing.")

        monkeypatch.setattr(Job, "plan_at", stricter)
        with pytest.raises(Misconfigured):
            bench.run(Step.PROMOTE, candidate=candidate)
        assert bench.world.head(PRODUCTION) == candidate.base
        bench.repository.promote(PRODUCTION, old=candidate.base, new=candidate.commit)
        moved = bench.run(Step.PROMOTE, candidate=candidate)
        assert moved == Moved(commit=candidate.commit, irreversible=True), "it has moved, and nobody knows a way back"


class TestObservation:
    @pytest.mark.parametrize(
        ("statuses", "outcome"),
        [
            ((200,), "pass"),
            ((200, 500, 200), "inconclusive"),  # one of ten: perhaps an outlier
            ((500, 200, 500, 200, 500, 200), "fail"),
            ((None,), "fail"),
        ],
    )
    def test_production_without_metrics_is_watched_at_its_health_address(
        self, bench: Bench, statuses: tuple[int | None, ...], outcome: str
    ) -> None:
        bench.probe = FakeProbe(*statuses)
        found = bench.run(Step.OBSERVE_PRODUCTION, environment=environment("production"), promotion=promotion(bench))
        assert found.outcome == outcome, found
        assert set(bench.probe.asked) == {"http://shop.test/healthz"}
        assert "the probe of http://shop.test/healthz" in found.evidence[0]

    def test_a_dead_production_ends_the_watch_at_once(self, bench: Bench) -> None:
        bench.probe = FakeProbe(None)
        found = bench.run(Step.OBSERVE_PRODUCTION, environment=environment("production"), promotion=promotion(bench))
        assert found.judgement.breach
        assert bench.probe.time < 1.0

    def test_without_an_address_there_is_no_data(self, bench: Bench) -> None:
        nowhere = environment("production", address="")
        found = bench.run(Step.OBSERVE_PRODUCTION, environment=nowhere, promotion=promotion(bench))
        assert found.outcome == "no_data"


class TestRollback:
    def test_production_holds_the_tree_from_before(self, bench: Bench) -> None:
        moved = promotion(bench)
        restored = bench.run(Step.RESTORE_BRANCH, promotion=moved)
        assert bench.world.head(PRODUCTION) == restored.commit
        assert bench.repository.tree_of(restored.commit) == bench.repository.tree_of(moved.before)
        assert bench.repository.is_ancestor(moved.candidate, restored.commit)

    def test_a_restoration_that_was_killed_after_the_push_is_recognised(self, bench: Bench) -> None:
        moved = promotion(bench)
        restored = bench.run(Step.RESTORE_BRANCH, promotion=moved)
        assert bench.run(Step.RESTORE_BRANCH, promotion=moved) == restored
        assert bench.world.head(PRODUCTION) == restored.commit

    def test_it_is_recognised_below_a_commit_made_by_hand(self, bench: Bench) -> None:
        moved = promotion(bench)
        restored = bench.run(Step.RESTORE_BRANCH, promotion=moved)
        hotfix = bench.world.commit(PRODUCTION, {"fix.py": "1"})
        assert bench.run(Step.RESTORE_BRANCH, promotion=moved) == restored
        assert bench.world.head(PRODUCTION) == hotfix

    def test_a_hotfix_on_top_is_kept(self, bench: Bench) -> None:
        moved = promotion(bench)
        bench.world.commit(PRODUCTION, {"fix.py": "1"})
        restored = bench.run(Step.RESTORE_BRANCH, promotion=moved)
        assert set(bench.world.files(restored.commit)) == {"README", "delivery.yaml", "fix.py"}
        assert bench.run(Step.RESTORE_BRANCH, promotion=moved) == restored

    def test_a_hotfix_of_the_same_lines_is_left_to_people(self, bench: Bench) -> None:
        moved = promotion(bench)
        hotfix = bench.world.commit(PRODUCTION, {"cards.py": "cards = 2\n"})
        failed = bench.run(Step.RESTORE_BRANCH, promotion=moved)
        assert isinstance(failed, Failed)
        assert "cards.py" in failed.reason
        assert bench.world.head(PRODUCTION) == hotfix

    def rolled_back(self, bench: Bench, *, deployed: bool) -> list[tuple[str, str, str]]:
        moved = promotion(bench)
        facts = {"environment": environment("production"), "promotion": moved}
        if deployed:
            bench.run(Step.DEPLOY_PRODUCTION, **facts)
        restored = bench.run(Step.RESTORE_BRANCH, promotion=moved).commit
        bench.fake.calls.clear()
        bench.run(Step.DEPLOY_ROLLBACK, **{**facts, "promotion": replace(moved, restored=restored)})
        return bench.fake.calls

    def test_data_go_back_with_a_candidate_that_ran(self, bench: Bench) -> None:
        assert self.rolled_back(bench, deployed=True)[-1][0] == "deploy_back"

    def test_data_stay_when_the_candidate_is_declared_irreversible_whatever_else_it_says(self, bench: Bench) -> None:
        declared = DELIVERY.replace("back: migrate down}", "back: migrate down, reversible: false}")
        assert declared != DELIVERY
        push(bench, {"delivery.yaml": declared})
        assert self.rolled_back(bench, deployed=True)[-1][0] == "deploy"

    def test_data_stay_when_the_candidate_never_ran(self, bench: Bench) -> None:
        assert self.rolled_back(bench, deployed=False)[-1][0] == "deploy"

    @pytest.mark.parametrize("by", ["force", "revert"])
    def test_production_that_people_took_back_by_hand_needs_no_restoration(self, bench: Bench, by: str) -> None:
        moved = promotion(bench)
        revert = bench.world.commit_tree(bench.repository.tree_of(moved.before), moved.candidate)
        there = bench.world.branch(PRODUCTION, moved.before if by == "force" else revert)
        assert bench.run(Step.RESTORE_BRANCH, promotion=moved) == Moved(commit=there)
        assert bench.world.head(PRODUCTION) == there

    def test_production_that_was_put_back_too_far_is_said_and_not_gone_on_from(self, bench: Bench) -> None:
        first = bench.world.head(PRODUCTION)
        bench.world.commit(PRODUCTION, {"other.py": "1"})
        moved = promotion(bench)
        bench.world.branch(PRODUCTION, first)
        with pytest.raises(Refused, match=f"put it at {moved.before}, then clear rollback.restore_branch"):
            bench.run(Step.RESTORE_BRANCH, promotion=moved)
        assert bench.world.head(PRODUCTION) == first


class TestClosing:
    def test_branches_go_at_the_commit_that_shipped_and_newer_ones_stay(self, bench: Bench) -> None:
        shipped = push(bench)
        bench.world.branch("feature/SHOP-1-more", shipped)
        push(bench, {"more.py": "1"}, branch="feature/SHOP-1-more")
        leases = {BRANCH: shipped, BranchName("feature/SHOP-1-more"): shipped}
        done = bench.run(Step.DELETE_BRANCHES, branch_leases=leases)
        assert done == BranchesDeleted(deleted=(BRANCH,), kept=(BranchName("feature/SHOP-1-more"),))
        assert bench.run(Step.DELETE_BRANCHES, branch_leases=leases).kept == done.kept

    def test_our_own_branch_goes_wherever_it_is(self, bench: Bench) -> None:
        push(bench)
        bench.candidate()
        done = bench.run(Step.DELETE_BRANCHES, own_branches=(CANDIDATE,))
        assert done.deleted == (CANDIDATE,)
        assert CANDIDATE not in bench.world.branches()

    def test_no_branch_of_shipped_work_goes_while_production_was_put_back(self, bench: Bench) -> None:
        """They may be the last that hold it: whoever keeps a release need not know of a push by force."""
        moved, shipped = promotion(bench), bench.world.head(BRANCH)
        bench.world.branch(PRODUCTION, moved.before)
        kept = {"promotion": moved, "branch_leases": {BRANCH: shipped}, "own_branches": (CANDIDATE,)}
        with pytest.raises(Refused, match=rf"Nothing was deleted: {PRODUCTION} is at {moved.before[:10]} and does not"):
            bench.run(Step.DELETE_BRANCHES, **kept)
        assert {BRANCH, CANDIDATE} <= set(bench.world.branches())
        revert = bench.world.commit_tree(bench.repository.tree_of(moved.before), moved.candidate)
        bench.world.branch(PRODUCTION, revert)
        assert bench.run(Step.DELETE_BRANCHES, **kept).deleted == (CANDIDATE, BRANCH), "a revert keeps the commits"
        bench.world.branch(PRODUCTION, moved.before)
        assert bench.run(Step.DELETE_BRANCHES, **kept).deleted == (BRANCH,), "gone already is done"

    def test_preprod_is_levelled_with_what_was_kept_and_never_taken_back(self, bench: Bench) -> None:
        moved = promotion(bench)
        bench.world.branch(PREPROD, moved.before)
        bench.run(Step.DELETE_BRANCHES, promotion=moved)
        assert bench.world.head(PREPROD) == moved.candidate
        newer = bench.world.commit(PREPROD, {"next.py": "1"})
        bench.run(Step.DELETE_BRANCHES, promotion=moved)
        assert bench.world.head(PREPROD) == newer, "a later delivery has levelled it"

    def test_preprod_is_not_levelled_with_what_was_rolled_back_or_never_promoted(self, bench: Bench) -> None:
        moved = promotion(bench)
        bench.world.branch(PREPROD, moved.before)
        bench.run(Step.DELETE_BRANCHES, promotion=replace(moved, restored=moved.before))
        unseen = bench.world.commit(BRANCH, {"unseen.py": "1"})
        bench.run(Step.DELETE_BRANCHES, promotion=replace(moved, candidate=unseen))
        assert bench.world.head(PREPROD) == moved.before

    def test_a_preprod_branch_that_cannot_be_levelled_keeps_no_branch_from_going(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def protected(*_arguments: object, **_named: object) -> bool:
            raise Refused("It is protected.")

        moved = promotion(bench)
        head = bench.world.head(BRANCH)
        monkeypatch.setattr(bench.repository, "level", protected)
        done = bench.run(Step.DELETE_BRANCHES, promotion=moved, branch_leases={BRANCH: head})
        assert done.deleted == (BRANCH,)
        assert any("It is protected." in line for line in bench.log)

    @pytest.mark.parametrize("branch", ["production", "preprod"])
    def test_no_permit_deletes_a_lasting_branch(self, bench: Bench, branch: str) -> None:
        with pytest.raises(Refused, match="never deleted"):
            bench.run(Step.DELETE_BRANCHES, branch_leases={BranchName(branch): bench.world.head(PRODUCTION)})

    def test_the_issue_is_closed_once_with_what_shipped(self, bench: Bench) -> None:
        bench.run(Step.REGISTER_FEATURE)
        moved = promotion(bench)
        for _ in range(2):
            bench.run(Step.CLOSE_ISSUE, promotion=moved)
        (notes,) = bench.tracker.comments.values()
        assert "SHOP-1 Gift cards is in production." in notes
        assert "* Change" in notes
        assert "Deliver SHOP-1" not in notes
        assert bench.tracker.found[KEY].state is IssueState.DONE

    def test_a_workflow_without_the_way_to_done_stops_no_delivery_at_its_end(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(*_: object, **__: object) -> object:
            raise Refused("Could not bring SHOP-1 to 'Done': from 'Open' there is only 'Doing'.")

        bench.run(Step.REGISTER_FEATURE)
        monkeypatch.setattr(bench.tracker, "move", refused)
        done = bench.run(Step.CLOSE_ISSUE, promotion=promotion(bench))
        assert "from 'Open' there is only 'Doing'" in done.trouble
        assert any("is in production." in text for text in bench.tracker.comments.values())
