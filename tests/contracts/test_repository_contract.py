"""What every ``Repository`` does, on a local bare repository and over HTTP alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Conflict, NotFound, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.ports.repository import FileChange, Held, MergeConflictError, Repository
from tests.support.git_world import PRODUCTION, GitWorld, git, git_over_http

FEATURE = BranchName("feature/SHOP-1-gifts")
CANDIDATE = BranchName("candidate/SHOP-1")
NOWHERE = CommitSha("1" * 40)


@dataclass
class Peer:
    world: GitWorld
    remote: str
    mirror: Path

    def repository(self) -> Repository:
        return GitRepository(self.remote, self.mirror)


@pytest.fixture(params=["path", "file", "http"])
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peer]:
    world = GitWorld.make(tmp_path)
    mirror = tmp_path / "mirrors" / "shop"
    match request.param:
        case "path":
            yield Peer(world, str(world.host), mirror)
        case "file":
            yield Peer(world, f"file://{world.host}", mirror)
        case _:
            git(world.host, "config", "http.receivepack", "true")
            with git_over_http(tmp_path, password="s3cret") as server:
                remote = server.url.replace("http://", "http://bot:s3cret@") + "/host.git"
                yield Peer(world, remote, mirror)


def test_heads_lists_every_branch_with_its_commit(peer: Peer) -> None:
    feature = peer.world.commit(FEATURE, {"a": "1"}, on=peer.world.head(PRODUCTION))
    assert peer.repository().heads() == {PRODUCTION: peer.world.head(PRODUCTION), FEATURE: feature}


def test_heads_leaves_out_names_that_no_feature_could_have(peer: Peer) -> None:
    peer.world.branch("odd'name;$(id)", peer.world.head(PRODUCTION))
    assert set(peer.repository().heads()) == {PRODUCTION}


def test_fetch_brings_a_commit_and_reads_it(peer: Peer) -> None:
    message = "Gifts\n\nCo-authored-by: Bob <BOB@Example.com>\n\nCo-Authored-By:   eve<eve@example.com>\n\nmore"
    sha = peer.world.commit(FEATURE, {"a": "1"}, on=peer.world.head(PRODUCTION), message=message)
    repository = peer.repository()
    repository.fetch(sha)
    commit = repository.commit(sha)
    assert (commit.sha, commit.parents, commit.subject) == (sha, (peer.world.head(PRODUCTION),), "Gifts")
    assert commit.authors == {"dev@example.com", "bob@example.com", "eve@example.com"}
    assert commit.tree == repository.tree_of(sha) == git(peer.world.host, "rev-parse", f"{sha}^{{tree}}")


def test_fetch_of_a_commit_that_nobody_has_is_not_found(peer: Peer) -> None:
    with pytest.raises(NotFound, match=r"has no commit 111111111111"):
        peer.repository().fetch(NOWHERE)


def test_a_commit_that_no_branch_holds_any_more_is_still_fetched(peer: Peer) -> None:
    sha = peer.world.commit(FEATURE, {"a": "1"}, on=peer.world.head(PRODUCTION))
    peer.world.delete(FEATURE)
    repository = peer.repository()
    repository.fetch(sha)
    assert repository.read_file(sha, "a") == b"1"


def test_reading_what_was_not_fetched_is_not_found(peer: Peer) -> None:
    repository = peer.repository()
    production = peer.world.head(PRODUCTION)
    repository.fetch(production)
    for read in (
        lambda: repository.commit(NOWHERE),
        lambda: repository.tree_of(NOWHERE),
        lambda: repository.ahead(NOWHERE, production),
        lambda: repository.is_ancestor(NOWHERE, production),
        lambda: repository.read_file(NOWHERE, "README"),
        lambda: repository.changed_paths(NOWHERE, production),
    ):
        with pytest.raises(NotFound):
            read()


def test_reading_a_file_brings_its_commit(peer: Peer) -> None:
    repository = peer.repository()
    repository.fetch(peer.world.head(PRODUCTION))
    sha = peer.world.commit(FEATURE, {"a": "1", "b": "1"}, on=peer.world.head(PRODUCTION))
    assert repository.read_file(sha, "a") == b"1"
    same = peer.world.commit(FEATURE, {"c": "1"})
    assert (repository.read_file(same, "b"), repository.read_file(same, "none")) == (b"1", None)


def test_ahead_lists_newest_first_and_ancestry_is_answered(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    one = peer.world.commit(FEATURE, {"a": "1"}, on=base)
    two = peer.world.commit(FEATURE, {"a": "2"})
    repository = peer.repository()
    repository.fetch()
    assert [commit.sha for commit in repository.ahead(two, base)] == [two, one]
    assert repository.ahead(base, two) == ()
    assert repository.is_ancestor(base, two)
    assert repository.is_ancestor(two, two)
    assert not repository.is_ancestor(two, base)


def test_how_much_of_a_promotion_is_left_is_told_from_what_lies_on_top_of_it(peer: Peer) -> None:
    world = peer.world
    text = "".join(f"line {n}\n" for n in range(20))
    before = world.commit(PRODUCTION, {"cart": text, "terms": text})
    feature = world.commit(FEATURE, {"cart": text.replace("line 3\n", "gift\n"), "gift": "1"}, on=before)
    candidate = world.commit_tree(git(world.host, "rev-parse", f"{feature}^{{tree}}"), before, feature)
    gifted = text.replace("line 3\n", "gift\n")
    cases: dict[Held, list[dict[str, str | None]]] = {
        Held.WHOLE: [{"hotfix": "hot"}, {"cart": gifted.replace("line 15\n", "hot\n")}, {"terms": None}],
        Held.PART: [{"gift": None}, {"gift": "2"}, {"cart": gifted.replace("gift\n", "gift card\n")}],
        Held.TAKEN_BACK: [{"cart": text, "gift": None}, {"cart": text.replace("line 15\n", "hot\n"), "gift": None}],
    }
    heads = {
        world.commit(BranchName(f"{found.name}-{index}"), changes, on=candidate): found
        for found, all_changes in cases.items()
        for index, changes in enumerate(all_changes)
    }
    reverted = world.commit(None, {"gift": None, "cart": text}, on=candidate)
    later = world.commit(BranchName("later"), {"hotfix": "hot"}, on=reverted)
    world.branch(CANDIDATE, candidate)
    heads |= {candidate: Held.WHOLE, later: Held.TAKEN_BACK, before: Held.ABSENT, feature: Held.ABSENT}
    repository = peer.repository()
    assert {at: repository.held(at, before=before, candidate=candidate) for at in heads} == heads


def test_of_a_promotion_that_is_nowhere_any_more_nothing_is_left(peer: Peer) -> None:
    head = peer.world.head(PRODUCTION)
    assert peer.repository().held(head, before=head, candidate=NOWHERE) is Held.ABSENT


def test_a_difference_names_paths_and_lines(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    sha = peer.world.commit(FEATURE, {"a": "1\n2\n", "b": b"\0\1", "README": None, "na\nme": "x"}, on=base)
    repository = peer.repository()
    repository.fetch()
    assert repository.changed_paths(base, sha) == ("README", "a", "b", "na\nme")
    assert set(repository.diff_stat(base, sha)) == {
        FileChange("README", 0, 1),
        FileChange("a", 2, 0),
        FileChange("b", None, None),
        FileChange("na\nme", 1, 0),
    }


def test_read_file_reads_regular_files_only(peer: Peer) -> None:
    sha = peer.world.commit(FEATURE, {"d/x": "1", "*": "star", "link": "\x00link:d/x", "big": b"x" * (1024 * 1024 + 1)})
    repository = peer.repository()
    repository.fetch(sha)
    assert repository.read_file(sha, "d/x") == b"1"
    assert repository.read_file(sha, "*") == b"star"
    assert repository.read_file(sha, "d") is None
    assert repository.read_file(sha, "link") is None
    assert repository.read_file(sha, "none") is None
    with pytest.raises(Refused, match="bytes"):
        repository.read_file(sha, "big")
    for path in ("/etc/passwd", "../x", "d/../d/x", "", "d//x", "a\0b"):
        with pytest.raises(Refused):
            repository.read_file(sha, path)


def test_create_branch_creates_once_and_never_overwrites(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    other = peer.world.commit("elsewhere", {"a": "1"}, on=base)
    repository = peer.repository()
    assert repository.create_branch(FEATURE, base) is True
    assert repository.create_branch(FEATURE, base) is False
    assert repository.create_branch(FEATURE, other) is False
    assert peer.world.head(FEATURE) == base


def test_a_branch_whose_name_is_a_directory_of_another_is_a_conflict(peer: Peer) -> None:
    repository = peer.repository()
    base = peer.world.head(PRODUCTION)
    repository.create_branch(FEATURE, base)
    for name in (BranchName("feature"), BranchName(f"{FEATURE}/x")):
        with pytest.raises(Conflict, match="cannot have both"):
            repository.create_branch(name, base)


def test_delete_branch_is_a_lease_and_gone_is_done(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    repository = peer.repository()
    repository.create_branch(FEATURE, base)
    newer = peer.world.commit(FEATURE, {"a": "1"})
    assert repository.delete_branch(FEATURE, expect=base) is False
    assert peer.world.head(FEATURE) == newer
    assert repository.delete_branch(FEATURE, expect=newer) is True
    assert repository.delete_branch(FEATURE, expect=newer) is True
    assert set(peer.world.branches()) == {PRODUCTION}


def test_production_is_never_deleted_overwritten_or_levelled(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    repository = peer.repository()
    for write in (
        lambda: repository.delete_branch(PRODUCTION, expect=base),
        lambda: repository.publish_candidate(PRODUCTION, base, over=None),
        lambda: repository.level(PRODUCTION, expect=base, to=base),
    ):
        with pytest.raises(Refused, match="is production"):
            write()


def test_a_candidate_is_built_published_and_promoted(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    feature = peer.world.commit(FEATURE, {"a": "1"}, on=base)
    hotfix = peer.world.commit(PRODUCTION, {"fix": "1"})
    repository = peer.repository()
    repository.fetch(hotfix, feature)
    candidate = repository.build_candidate(production=hotfix, feature=feature, past=(), message="Ship gifts: ä")
    for _ in range(2):
        repository.publish_candidate(CANDIDATE, candidate.commit, over=None)
    assert peer.world.head(CANDIDATE) == candidate.commit
    repository.promote(PRODUCTION, old=hotfix, new=candidate.commit)
    assert peer.world.head(PRODUCTION) == candidate.commit
    assert peer.world.files(candidate.commit) == {"README": b"shop\n", "a": b"1", "fix": b"1"}
    commit = repository.commit(candidate.commit)
    assert (commit.parents, commit.tree, commit.subject) == ((hotfix, feature), candidate.tree, "Ship gifts: ä")


def test_promoting_again_is_done_and_from_elsewhere_is_a_conflict(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    feature = peer.world.commit(FEATURE, {"a": "1"}, on=base)
    repository = peer.repository()
    repository.fetch()
    new = repository.build_candidate(production=base, feature=feature, past=(), message="x").commit
    repository.promote(PRODUCTION, old=base, new=new)
    repository.promote(PRODUCTION, old=base, new=new)
    hotfix = peer.world.commit(PRODUCTION, {"fix": "1"})
    with pytest.raises(Conflict, match=f"at {hotfix[:12]} by now"):
        repository.promote(PRODUCTION, old=base, new=new)
    peer.world.delete(PRODUCTION)
    with pytest.raises(Conflict, match="is gone by now"):
        repository.promote(PRODUCTION, old=base, new=new)


def test_promotion_never_rewrites_history(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    hotfix = peer.world.commit(PRODUCTION, {"fix": "1"})
    feature = peer.world.commit(FEATURE, {"a": "1"}, on=base)
    repository = peer.repository()
    with pytest.raises(Conflict, match="does not contain the old one"):
        repository.promote(PRODUCTION, old=hotfix, new=feature)
    assert peer.world.head(PRODUCTION) == hotfix


def test_whoever_slept_meanwhile_puts_no_candidate_over_a_newer_one_nor_back(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    old, new = (peer.world.commit(BranchName(name), {"a": name}, on=base) for name in ("one", "two"))
    repository = peer.repository()
    repository.publish_candidate(CANDIDATE, old, over=None)
    repository.publish_candidate(CANDIDATE, new, over=old)
    with pytest.raises(Unavailable, match="moved"):
        repository.publish_candidate(CANDIDATE, old, over=None)
    assert peer.world.head(CANDIDATE) == new
    repository.delete_branch(CANDIDATE, expect=new)
    with pytest.raises(Unavailable, match="moved"):
        repository.publish_candidate(CANDIDATE, new, over=old)
    assert CANDIDATE not in peer.world.branches()


def test_a_refusing_hook_is_a_refusal_and_moves_nothing(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    feature = peer.world.commit(FEATURE, {"a": "1"}, on=base)
    hook = peer.world.host / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho protected >&2; exit 1\n")
    hook.chmod(0o755)
    repository = peer.repository()
    with pytest.raises(Refused, match="pre-receive hook declined"):
        repository.promote(PRODUCTION, old=base, new=feature)
    with pytest.raises(Refused, match="pre-receive hook declined"):
        repository.delete_branch(FEATURE, expect=feature)
    with pytest.raises(Refused, match="pre-receive hook declined"):
        repository.publish_candidate(CANDIDATE, feature, over=None)
    assert peer.world.branches() == {PRODUCTION: base, FEATURE: feature}


def test_level_creates_moves_and_drops_what_was_merged_by_hand(peer: Peer) -> None:
    preprod = BranchName("preprod")
    base = peer.world.head(PRODUCTION)
    shipped = peer.world.commit(PRODUCTION, {"a": "1"})
    repository = peer.repository()
    assert repository.level(preprod, expect=None, to=base) is True
    assert repository.level(preprod, expect=base, to=shipped) is True
    assert repository.level(preprod, expect=base, to=shipped) is True
    by_hand = peer.world.commit(preprod, {"b": "1"})
    assert repository.level(preprod, expect=base, to=base) is False
    assert repository.level(preprod, expect=None, to=base) is False
    assert repository.level(preprod, expect=by_hand, to=shipped) is True
    assert peer.world.head(preprod) == shipped


def test_a_restoration_has_the_tree_from_before_and_keeps_history(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    feature = peer.world.commit(FEATURE, {"a": "1", "README": None}, on=base)
    repository = peer.repository()
    repository.fetch()
    promoted = repository.build_candidate(production=base, feature=feature, past=(), message="x").commit
    repository.promote(PRODUCTION, old=base, new=promoted)
    back = repository.build_restoration(head=promoted, before=base, promoted=promoted, message="Roll back")
    again = repository.build_restoration(head=promoted, before=base, promoted=promoted, message="Roll back")
    repository.promote(PRODUCTION, old=promoted, new=back.sha)
    assert (back, back.parents, back.tree) == (again, (promoted,), repository.tree_of(base))
    assert peer.world.files(peer.world.head(PRODUCTION)) == {"README": b"shop\n"}


def test_conflicts_name_the_files(peer: Peer) -> None:
    base = peer.world.head(PRODUCTION)
    feature = peer.world.commit(FEATURE, {"README": "mine\n", "z": "1", "a": "1"}, on=base)
    hotfix = peer.world.commit(PRODUCTION, {"README": "theirs\n", "z": "2"})
    repository = peer.repository()
    repository.fetch()
    with pytest.raises(MergeConflictError) as caught:
        repository.build_candidate(production=hotfix, feature=feature, past=(), message="x")
    assert caught.value.files == ("README", "z")


def test_checkout_writes_the_files_and_nothing_else(peer: Peer, tmp_path: Path) -> None:
    sha = peer.world.commit(FEATURE, {"d/x": "1", "link": "\x00link:d/x", ".gitattributes": "d export-ignore\n"})
    repository = peer.repository()
    repository.fetch(sha)
    target = tmp_path / "release"
    target.mkdir()
    repository.checkout(sha, target)
    assert {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()} == {
        "d/x",
        "link",
        ".gitattributes",
    }
    assert (target / "link").read_text() == "1"
    with pytest.raises(Refused, match="not an empty directory"):
        repository.checkout(sha, target)
