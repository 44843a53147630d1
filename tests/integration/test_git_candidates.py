"""What is in a candidate: production and the whole feature, also after rollbacks, whatever the developer does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from feature_delivery.adapters.git.merging import Identity
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.ports.repository import Candidate, MergeConflictError, PastDelivery
from tests.support.git_world import PRODUCTION, Content, GitWorld, git

FEATURE = BranchName("feature/SHOP-1-gifts")
OTHER = BranchName("feature/SHOP-2-cards")

SHOP = {"cart.py": "".join(f"line {n}\n" for n in range(40)), "README": "shop\n"}
GIFTS = {"gift.py": "gift\nwrap\n", "ribbon.py": "red\n"}


def cart(**lines: str) -> str:
    """Return cart.py with some lines changed: ``cart(l5="new")``."""
    text = SHOP["cart.py"].splitlines()
    for name, value in lines.items():
        text[int(name[1:])] = value
    return "\n".join(text) + "\n"


@dataclass
class Shop:
    """A shop on its way; ``ship`` and ``roll_back`` are what the deliveries do."""

    world: GitWorld
    repository: GitRepository
    past: dict[str, list[PastDelivery]] = field(default_factory=dict)

    @property
    def production(self) -> CommitSha:
        return self.world.head(PRODUCTION)

    def push(self, branch: str, changes: Mapping[str, Content], *, on: str | None = None) -> CommitSha:
        known = branch in self.world.branches()
        return self.world.commit(branch, changes, on=on or (None if known else self.production))

    def build(self, branch: str = FEATURE) -> Candidate:
        self.repository.fetch()
        return self.repository.build_candidate(
            production=self.production,
            feature=self.world.head(branch),
            past=tuple(self.past.get(branch, ())),
            message=f"Ship {branch}",
        )

    def ship(self, branch: str = FEATURE) -> Candidate:
        candidate = self.build(branch)
        self.repository.promote(PRODUCTION, old=candidate.base, new=candidate.commit)
        assert self.production == candidate.commit
        return candidate

    def roll_back(self, candidate: Candidate, branch: str = FEATURE) -> CommitSha:
        self.repository.fetch()
        back = self.repository.build_restoration(
            head=self.production, before=candidate.base, promoted=candidate.commit, message="Roll back"
        )
        self.repository.promote(PRODUCTION, old=self.production, new=back.sha)
        self.past.setdefault(branch, []).append(PastDelivery(candidate.base, candidate.commit, back.sha))
        return back.sha

    def files(self, candidate: Candidate) -> dict[str, str]:
        return {path: data.decode() for path, data in self.world_files(candidate.commit).items()}

    def world_files(self, commit: str) -> dict[str, bytes]:
        if self.world.branches().get(PRODUCTION) != commit:
            look, there = BranchName("candidate/look"), self.world.branches().get("candidate/look")
            self.repository.publish_candidate(look, CommitSha(commit), over=CommitSha(there) if there else None)
        return self.world.files(commit)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    world = GitWorld.make(tmp_path, files=SHOP)
    return Shop(world, GitRepository(str(world.host), tmp_path / "mirror"))


def rolled_back(shop: Shop, changes: Mapping[str, Content] = GIFTS) -> tuple[CommitSha, CommitSha]:
    """Ship the feature and take it back; return its head and the restoration."""
    head = shop.push(FEATURE, changes)
    return head, shop.roll_back(shop.ship())


# -- one delivery --------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_commit_in_any_mirror(shop: Shop, tmp_path: Path) -> None:
    shop.push(FEATURE, GIFTS)
    shop.push(PRODUCTION, {"x": "1"})
    one = shop.build()
    other = GitRepository(str(shop.world.host), tmp_path / "another")
    other.fetch()
    two = other.build_candidate(production=one.base, feature=one.feature, past=(), message=f"Ship {FEATURE}")
    assert one == two
    shown = git(tmp_path / "mirror", "log", "-1", "--format=%an <%ae> %cn %at %ct", one.commit)
    newest = git(shop.world.host, "log", "-1", "--format=%ct", one.base)
    assert shown == f"Feature Delivery <feature-delivery@localhost.invalid> Feature Delivery {newest} {newest}"


def test_the_identity_is_configurable_and_checked(shop: Shop, tmp_path: Path) -> None:
    head = shop.push(FEATURE, GIFTS)
    repository = GitRepository(str(shop.world.host), tmp_path / "m2", identity=Identity("Robo", "robo@shop.example"))
    repository.fetch()
    built = repository.build_candidate(production=shop.production, feature=head, past=(), message="x")
    assert repository.commit(built.commit).authors == {"robo@shop.example"}
    with pytest.raises(Misconfigured):
        Identity("Evil\nauthor", "x@y")


def test_nothing_to_ship_is_refused_whatever_the_reason(shop: Shop) -> None:
    production = shop.production
    shop.world.branch(FEATURE, production)
    with pytest.raises(Refused, match=r"contains .* already"):
        shop.build()
    shop.push(FEATURE, {"x": "1"})
    shop.push(FEATURE, {"x": None})
    with pytest.raises(Refused, match="changes no file"):
        shop.build()
    shop.push(FEATURE, {"y": "1"})
    shop.push(PRODUCTION, {"y": "1"})
    with pytest.raises(Refused, match="changes no file"):
        shop.build()


def test_an_unrelated_history_is_refused(shop: Shop) -> None:
    tree = shop.world.tree_with(None, {"a": "1"})
    shop.world.branch(FEATURE, shop.world.commit_tree(tree))
    with pytest.raises(Refused, match="no common history"):
        shop.build()


def test_criss_cross_merges_with_two_merge_bases_are_merged(shop: Shop) -> None:
    base = shop.production
    feature = shop.push(FEATURE, {"a": "1"}, on=base)
    hotfix = shop.push(PRODUCTION, {"b": "1"})
    tree = shop.world.tree_with(base, {"a": "1", "b": "1"})
    shop.world.branch(FEATURE, shop.world.commit_tree(tree, feature, hotfix))
    shop.world.branch(PRODUCTION, shop.world.commit_tree(tree, hotfix, feature))
    shop.push(FEATURE, {"c": "1"})
    assert shop.files(shop.build()) == {**SHOP, "a": "1", "b": "1", "c": "1"}


def test_an_octopus_on_the_branch_is_merged(shop: Shop) -> None:
    base = shop.production
    sides = [shop.world.commit(None, {name: "1"}, on=base) for name in "abc"]
    tree = shop.world.tree_with(base, {"a": "1", "b": "1", "c": "1"})
    shop.world.branch(FEATURE, shop.world.commit_tree(tree, *sides))
    assert set(shop.files(shop.build())) == {*SHOP, "a", "b", "c"}


def test_a_rename_meets_a_hotfix_of_the_renamed_file(shop: Shop) -> None:
    shop.push(FEATURE, {"cart.py": None, "basket.py": cart(l5="gift")})
    shop.push(PRODUCTION, {"cart.py": cart(l30="hotfix")})
    assert shop.files(shop.build()) == {"README": "shop\n", "basket.py": cart(l5="gift", l30="hotfix")}


def test_a_squash_merge_by_hand_into_preprod_leaves_no_trace_in_the_candidate(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    shop.world.branch("preprod", shop.production)
    shop.world.commit("preprod", {**GIFTS, "by-hand": "1"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS}


def test_a_force_push_leaves_nothing_of_what_it_dropped(shop: Shop) -> None:
    base = shop.production
    shop.push(FEATURE, {**GIFTS, "bad.txt": "bad\n"})
    shop.build()
    shop.push(FEATURE, GIFTS, on=base)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS}


# -- after a rollback ----------------------------------------------------------------------------------------------


def test_a_fix_on_top_brings_the_whole_feature_again(shop: Shop) -> None:
    head, back = rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift")})
    fix = shop.push(FEATURE, {"gift.py": "gift\nfixed\n"})
    again = shop.ship()
    assert shop.files(again) == {"README": "shop\n", **GIFTS, "gift.py": "gift\nfixed\n", "cart.py": cart(l3="gift")}
    assert shop.repository.commit(again.commit).parents == (back, fix)
    assert shop.repository.is_ancestor(head, again.commit)


def test_the_unchanged_feature_can_be_delivered_again(shop: Shop) -> None:
    rolled_back(shop)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS}


def test_a_branch_put_at_the_promoted_commit_itself_is_whole(shop: Shop) -> None:
    rolled_back(shop)
    shop.world.branch(FEATURE, shop.past[FEATURE][0].candidate)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS}
    shop.push(FEATURE, {"gift.py": "fixed\n"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "gift.py": "fixed\n"}


def test_three_rollbacks_with_fixes_between_lose_nothing(shop: Shop) -> None:
    rolled_back(shop)
    for number in range(2):
        shop.push(FEATURE, {f"fix{number}": "1"})
        shop.roll_back(shop.ship())
        assert set(shop.world_files(shop.production)) == set(SHOP)
    shop.push(FEATURE, {"ribbon.py": None})
    assert shop.files(shop.ship()) == {**SHOP, "gift.py": GIFTS["gift.py"], "fix0": "1", "fix1": "1"}


def test_other_features_shipped_between_stay(shop: Shop) -> None:
    rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift")})
    shop.push(OTHER, {"card.py": "1", "cart.py": cart(l30="card")})
    shop.ship(OTHER)
    shop.push(FEATURE, {"fix": "1"})
    files = shop.files(shop.ship())
    assert files == {**SHOP, **GIFTS, "fix": "1", "card.py": "1", "cart.py": cart(l3="gift", l30="card")}


def test_a_feature_that_was_branched_while_the_bad_one_was_live_does_not_bring_it_back(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    bad = shop.ship()
    shop.push(OTHER, {"card.py": "1"})
    shop.roll_back(bad)
    assert shop.files(shop.ship(OTHER)) == {**SHOP, "card.py": "1"}
    shop.push(FEATURE, {"fix": "1"})
    assert shop.files(shop.ship()) == {**SHOP, **GIFTS, "card.py": "1", "fix": "1"}


def test_production_merged_before_the_rollback_does_not_hide_the_feature(shop: Shop) -> None:
    """The branch contains its own promotion, but not the restoration."""
    shop.push(FEATURE, GIFTS)
    candidate = shop.ship()
    shop.world.merge(FEATURE, candidate.commit)
    shop.push(FEATURE, {"fix": "1"})
    shop.roll_back(candidate)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "fix": "1"}


def test_a_file_dropped_by_force_push_after_the_rollback_stays_away(shop: Shop) -> None:
    base = shop.production
    rolled_back(shop, {**GIFTS, "bad.txt": "bad\n"})
    shop.push(FEATURE, {**GIFTS, "fix": "1"}, on=base)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "fix": "1"}


def test_a_file_deleted_by_the_fix_stays_away(shop: Shop) -> None:
    rolled_back(shop, {**GIFTS, "bad.txt": "bad\n"})
    shop.push(FEATURE, {"bad.txt": None})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS}


def test_a_rebase_that_picks_every_commit_again_is_whole(shop: Shop) -> None:
    _, back = rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift")})
    shop.push(FEATURE, {**GIFTS, "cart.py": cart(l3="gift")}, on=back)
    shop.push(FEATURE, {"gift.py": "fixed\n"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "gift.py": "fixed\n", "cart.py": cart(l3="gift")}


def test_a_squash_onto_production_with_the_fix_in_it_is_whole(shop: Shop) -> None:
    _, back = rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift")})
    shop.push(FEATURE, {**GIFTS, "gift.py": "gift\nfixed\n", "cart.py": cart(l3="gift, fixed")}, on=back)
    files = shop.files(shop.build())
    assert files == {**SHOP, **GIFTS, "gift.py": "gift\nfixed\n", "cart.py": cart(l3="gift, fixed")}


def test_a_squash_that_renames_a_file_is_whole(shop: Shop) -> None:
    _, back = rolled_back(shop)
    shop.push(FEATURE, {"gifts.py": GIFTS["gift.py"], "ribbon.py": GIFTS["ribbon.py"]}, on=back)
    assert set(shop.files(shop.build())) == {*SHOP, "gifts.py", "ribbon.py"}


def test_the_developer_reverting_the_rollback_is_whole_and_may_drop_files_then(shop: Shop) -> None:
    head, back = rolled_back(shop, {**GIFTS, "bad.txt": "bad\n"})
    shop.world.merge(FEATURE, back)
    assert shop.world.head(FEATURE) == back
    shop.world.branch(FEATURE, shop.world.commit_tree(git(shop.world.host, "rev-parse", f"{head}^{{tree}}"), back))
    shop.push(FEATURE, {"gift.py": "fixed\n"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "gift.py": "fixed\n", "bad.txt": "bad\n"}
    shop.push(FEATURE, {"bad.txt": None})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "gift.py": "fixed\n"}


def test_a_fast_forward_to_production_takes_the_feature_away_and_is_refused(shop: Shop) -> None:
    head, back = rolled_back(shop)
    shop.world.merge(FEATURE, shop.production)
    shop.push(FEATURE, {"fix": "1"})
    with pytest.raises(Refused) as caught:
        shop.build()
    assert str(caught.value) == (
        "The candidate would lack changes of the feature ('gift.py', 'ribbon.py'): its branch contains the rollback "
        f"{back[:12]}, which took them away. Run `git revert {back[:12]}` on the branch, or put the branch back to "
        f"{head[:12]} and commit on top of that."
    )


@pytest.mark.parametrize("way", ["revert", "put back"])
def test_both_ways_out_of_the_refusal_lead_out(shop: Shop, way: str) -> None:
    head, _back = rolled_back(shop)
    shop.world.merge(FEATURE, shop.production)
    shop.push(FEATURE, {"fix": "1"})
    if way == "revert":
        shop.push(FEATURE, GIFTS)
    else:
        shop.push(FEATURE, {"fix": "1"}, on=head)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "fix": "1"}


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"gift.py": GIFTS["gift.py"], "cart.py": cart(l3="gift")}, "ribbon.py"),
        ({**GIFTS, "fix": "1"}, "cart.py"),
        ({**GIFTS, "cart.py": cart(l30="fix")}, "cart.py"),
        ({**GIFTS, "cart.py": cart(l3="again", l30="fix")}, "cart.py"),
    ],
)
def test_a_feature_brought_back_in_part_is_refused(shop: Shop, changes: dict[str, Content], lost: str) -> None:
    """The feature changed lines 3 and 20 of the cart and added two files; something of that is missing."""
    _, back = rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift", l20="wrap")})
    if lost == "ribbon.py":
        changes["cart.py"] = cart(l3="gift", l20="wrap")
    shop.push(FEATURE, changes, on=back)
    with pytest.raises(Refused, match=f"lack changes of the feature \\('{lost}'\\)"):
        shop.build()


def test_a_deletion_that_the_restoration_undid_must_come_again(shop: Shop) -> None:
    _, back = rolled_back(shop, {"cart.py": None, "x": "1"})
    shop.push(FEATURE, {"x": "1", "cart.py": cart(l3="edited")}, on=back)
    with pytest.raises(Refused, match=r"cart\.py"):
        shop.build()
    shop.push(FEATURE, {"cart.py": None})
    assert shop.files(shop.build()) == {"README": "shop\n", "x": "1"}


def test_production_merged_into_the_branch_after_the_rollback_is_merged_again_without_it(shop: Shop) -> None:
    rolled_back(shop, {**GIFTS, "cart.py": cart(l3="gift")})
    shop.push(OTHER, {"card.py": "1"})
    shop.ship(OTHER)
    shop.push(FEATURE, {"fix": "1"})
    shop.world.merge(FEATURE, shop.production)
    assert "gift.py" not in shop.world.files(shop.world.head(FEATURE))
    shop.push(FEATURE, {"late": "1", "README": "new\n"})
    files = shop.files(shop.build())
    assert files == {"README": "new\n", **GIFTS, "cart.py": cart(l3="gift"), "card.py": "1", "fix": "1", "late": "1"}


def test_two_such_merges_after_two_rollbacks_are_both_made_again(shop: Shop) -> None:
    rolled_back(shop)
    for name in ("one", "two"):
        shop.push(FEATURE, {name: "1"})
        shop.world.merge(FEATURE, shop.production)
        shop.push(FEATURE, {f"late-{name}": "1"})
        shop.roll_back(shop.ship())
    shop.push(FEATURE, {"three": "1"})
    expected = {**SHOP, **GIFTS, **dict.fromkeys(("one", "late-one", "two", "late-two", "three"), "1")}
    assert shop.files(shop.build()) == expected


def test_a_merge_made_again_does_not_bring_back_what_the_developer_took_out_before(shop: Shop) -> None:
    rolled_back(shop, {**GIFTS, "bad.txt": "bad\n"})
    shop.push(FEATURE, {"bad.txt": None, "fix": "1"})
    shop.world.merge(FEATURE, shop.production)
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "fix": "1"}


def test_a_conflict_resolved_for_the_feature_is_whole(shop: Shop) -> None:
    """Fixing a file that the restoration deletes: the developer keeps it; the other files vanish in silence."""
    rolled_back(shop)
    shop.push(FEATURE, {"gift.py": "gift\nfixed\n"})
    shop.world.merge(FEATURE, shop.production, resolve={"gift.py": "gift\nfixed\n"})
    assert "ribbon.py" not in shop.world.files(shop.world.head(FEATURE))
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "gift.py": "gift\nfixed\n"}


def test_a_conflict_resolved_in_a_way_of_the_developers_own_is_refused(shop: Shop) -> None:
    rolled_back(shop)
    shop.push(FEATURE, {"gift.py": "gift\nfixed\n"})
    shop.world.merge(FEATURE, shop.production, resolve={"gift.py": "something else\n"})
    with pytest.raises(Refused, match="ribbon"):
        shop.build()


def test_a_conflict_with_what_shipped_meanwhile_is_a_conflict(shop: Shop) -> None:
    rolled_back(shop, {"cart.py": cart(l3="gift")})
    shop.push(OTHER, {"cart.py": cart(l3="card")})
    shop.ship(OTHER)
    shop.push(FEATURE, {"fix": "1"})
    with pytest.raises(MergeConflictError) as caught:
        shop.build()
    assert caught.value.files == ("cart.py",)


def test_a_hotfix_on_top_of_the_bad_release_is_kept_by_rollback_and_redelivery(shop: Shop) -> None:
    shop.push(FEATURE, {**GIFTS, "cart.py": cart(l3="gift")})
    bad = shop.ship()
    shop.push(PRODUCTION, {"hotfix": "1", "cart.py": cart(l3="gift", l30="hot")})
    shop.roll_back(bad)
    assert shop.world_files(shop.production) == {
        "README": b"shop\n",
        "hotfix": b"1",
        "cart.py": cart(l30="hot").encode(),
    }
    shop.push(FEATURE, {"fix": "1"})
    files = shop.files(shop.build())
    assert files == {**SHOP, **GIFTS, "hotfix": "1", "fix": "1", "cart.py": cart(l3="gift", l30="hot")}


def test_a_branch_that_merged_production_with_a_hotfix_on_the_bad_release_is_refused(shop: Shop) -> None:
    """Git cannot measure the feature against a commit that holds it already."""
    shop.push(FEATURE, GIFTS)
    bad = shop.ship()
    hotfix = shop.push(PRODUCTION, {"hotfix": "1"})
    shop.world.merge(FEATURE, hotfix)
    shop.push(FEATURE, {"fix": "1"})
    shop.roll_back(bad)
    with pytest.raises(Refused, match="contains the rollback"):
        shop.build()


def test_a_delivery_that_was_not_taken_back_is_no_past_and_only_the_rest_ships(shop: Shop) -> None:
    """A fix on top of it was called its restoration by mistake: nobody is asked to revert that fix."""
    shop.push(FEATURE, GIFTS)
    live = shop.ship()
    hotfix = shop.push(PRODUCTION, {"hotfix": "1"})
    shop.push(FEATURE, {"fix": "1"})
    for restored in (hotfix, live.commit, live.base):
        shop.past[FEATURE] = [PastDelivery(live.base, live.commit, restored)]
        assert shop.files(shop.build()) == {**SHOP, **GIFTS, "hotfix": "1", "fix": "1"}
    shop.world.merge(FEATURE, hotfix)
    shop.past[FEATURE] = [PastDelivery(live.base, live.commit, hotfix)]
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "hotfix": "1", "fix": "1"}
    shop.past[FEATURE] = [PastDelivery(live.feature, live.commit, live.commit)]
    with pytest.raises(Refused, match="not the merge of a feature"):
        shop.build()


def test_a_delivery_of_which_a_part_is_left_is_refused_as_past(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    live = shop.ship()
    hotfix = shop.push(PRODUCTION, {"hotfix": "1"})
    shop.push(PRODUCTION, {"gift.py": None})
    shop.push(FEATURE, {"fix": "1"})
    for restored in (hotfix, live.commit, live.base):
        shop.past[FEATURE] = [PastDelivery(live.base, live.commit, restored)]
        with pytest.raises(Refused, match=f"did not take the delivery {live.commit[:12]} back"):
            shop.build()


def test_a_delivery_that_was_reverted_by_hand_comes_again_as_a_whole(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    live = shop.ship()
    shop.push(PRODUCTION, {"hotfix": "1"})
    reverted = shop.push(PRODUCTION, dict.fromkeys(GIFTS))
    shop.past[FEATURE] = [PastDelivery(live.base, live.commit, reverted)]
    shop.push(FEATURE, {"fix": "1"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "hotfix": "1", "fix": "1"}


def test_a_past_delivery_that_production_lost_by_a_rewrite_changes_nothing(shop: Shop) -> None:
    base = shop.production
    rolled_back(shop)
    shop.world.branch(PRODUCTION, base)
    shop.push(FEATURE, {"fix": "1"})
    assert shop.files(shop.build()) == {**SHOP, **GIFTS, "fix": "1"}


# -- restoration ---------------------------------------------------------------------------------------------------


def test_a_restoration_that_meets_a_foreign_change_of_the_same_lines_is_a_conflict(shop: Shop) -> None:
    shop.push(FEATURE, {"cart.py": cart(l3="gift")})
    bad = shop.ship()
    shop.push(PRODUCTION, {"cart.py": cart(l3="gift, hot")})
    with pytest.raises(MergeConflictError) as caught:
        shop.roll_back(bad)
    assert caught.value.files == ("cart.py",)


def test_a_restoration_of_what_is_gone_already_is_refused(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    bad = shop.ship()
    shop.roll_back(bad)
    with pytest.raises(Refused, match="nothing to take back"):
        shop.roll_back(bad)


# -- stacked features ----------------------------------------------------------------------------------------------


def stacked(shop: Shop, branch: str) -> str | None:
    shop.repository.fetch()
    heads = shop.repository.heads()
    others = {name: sha for name, sha in heads.items() if name.startswith("feature/")}
    return shop.repository.stacked_on(
        BranchName(branch), head=heads[BranchName(branch)], production=shop.production, others=others
    )


def test_a_feature_on_another_undelivered_one_is_found_until_that_one_ships(shop: Shop) -> None:
    base = shop.push(OTHER, {"card.py": "1"})
    shop.push(FEATURE, GIFTS, on=base)
    assert stacked(shop, FEATURE) == OTHER
    assert stacked(shop, OTHER) is None
    shop.ship(OTHER)
    assert stacked(shop, FEATURE) is None


def test_of_two_that_went_on_after_the_fork_only_the_younger_waits(shop: Shop) -> None:
    names = ("feature/SHOP-9-a", "feature/SHOP-10-b")
    shared = shop.world.commit(None, {"shared": "1"}, on=shop.production)
    for name in names:
        shop.world.commit(name, {name: "1"}, on=shared)
    assert [stacked(shop, name) for name in names] == [None, names[0]]


def test_two_names_of_one_commit_do_not_wait_for_each_other(shop: Shop) -> None:
    shared = shop.push(FEATURE, GIFTS)
    shop.world.branch(OTHER, shared)
    assert [stacked(shop, FEATURE), stacked(shop, OTHER)] == [None, FEATURE]


def test_independent_features_are_not_stacked(shop: Shop) -> None:
    shop.push(FEATURE, GIFTS)
    shop.push(OTHER, {"card.py": "1"})
    shop.world.branch("feature/SHOP-3-empty", shop.production)
    assert [stacked(shop, name) for name in (FEATURE, OTHER, "feature/SHOP-3-empty")] == [None, None, None]
