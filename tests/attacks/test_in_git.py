"""What somebody pushes who may push: names that are read as something else, branches that are ours, history anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Conflict, Refused
from feature_delivery.domain.names import BranchName, commit_sha
from tests.support.web_app import Repository

MAIN, FEATURE = BranchName("main"), BranchName("feature/SHOP-1-cards")


@pytest.fixture
def developer(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def ours(developer: Repository, tmp_path: Path) -> GitRepository:
    return GitRepository(str(developer.bare), tmp_path / "mirror.git", production=MAIN, candidate_prefix="candidate/")


def test_tags_and_branches_named_like_commits_or_branches_are_read_as_neither(
    developer: Repository, ours: GitRepository
) -> None:
    head = developer.push(FEATURE, "good")
    evil = developer.push("evil", "evil")
    for name in ("main", "heads/main", "origin/main", FEATURE, head):
        developer.git("push", "--quiet", "origin", f"{evil}:refs/tags/{name}")
    developer.git("push", "--quiet", "origin", f"{evil}:refs/heads/{head}")
    developer.git("push", "--quiet", "origin", f"{evil}:refs/replace/{head}")
    heads = ours.heads()
    assert (heads[MAIN], heads[FEATURE]) == (developer.main, head)
    ours.fetch(commit_sha(head))
    assert ours.read_file(commit_sha(head), "cards.txt") == b"good"
    assert ours.read_file(commit_sha(developer.main), "cards.txt") is None


def test_a_candidate_is_what_was_built_whatever_is_pushed_onto_its_branch(
    developer: Repository, ours: GitRepository
) -> None:
    """It is tested, signed off and shipped by its commit; the branch of that name is for people to look at."""
    head = developer.push(FEATURE, "good")
    branch, before = BranchName("candidate/SHOP-1"), commit_sha(developer.main)
    ours.fetch(before, commit_sha(head))
    built = ours.build_candidate(production=before, feature=commit_sha(head), message="SHOP-1", past=())
    ours.publish_candidate(branch, built.commit, over=None)
    evil = developer.push("evil", "evil")
    developer.git("push", "--quiet", "--force", "origin", f"{evil}:refs/heads/{branch}")
    assert ours.heads()[branch] == evil
    assert ours.read_file(built.commit, "cards.txt") == b"good"
    ours.promote(MAIN, old=before, new=built.commit)
    assert ours.heads()[MAIN] == built.commit


def test_production_that_was_moved_by_force_is_neither_promoted_nor_forced_back(
    developer: Repository, ours: GitRepository
) -> None:
    head = developer.push(FEATURE, "good")
    evil = developer.push("evil", "evil")
    ours.fetch(commit_sha(head))
    developer.git("push", "--quiet", "--force", "origin", f"{evil}:refs/heads/main")
    with pytest.raises((Refused, Conflict)):
        ours.promote(MAIN, old=commit_sha(developer.main), new=commit_sha(head))
    assert ours.heads()[MAIN] == evil
