"""Random histories of several features on one real repository; the candidate is compared with a model of intentions.

``FEATURE_DELIVERY_EXAMPLES=1000`` tries harder.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.ports.repository import Candidate, PastDelivery
from tests.support.git_world import PRODUCTION, GitWorld

Wish = dict[str, str | None]
"""What a feature wants: a file's content, ``None`` for no such file; ``line N`` names a line of the shared cart."""

LINES = 60
FEATURES = (1, 2)


def render(wish: Wish) -> dict[str, str]:
    """Turn a wish for the whole shop into files."""
    lines = [wish.get(f"line {n}") or f"original line {n} of the cart" for n in range(LINES)]
    files = {path: text for path, text in wish.items() if text is not None and not path.startswith("line ")}
    return {**files, "cart.py": "\n".join(lines) + "\n"}


@dataclass
class Feature:
    """One branch. ``heads``: each commit that the developer pushed, with what the feature wanted then.

    ``doubtful``: production was pulled after a rollback in a way that may be refused (never shipped in part).
    """

    number: int
    generation: int = 0
    heads: list[tuple[CommitSha, Wish]] = field(default_factory=list)
    past: list[PastDelivery] = field(default_factory=list)
    doubtful: bool = False

    @property
    def branch(self) -> BranchName:
        return BranchName(f"feature/SHOP-{self.number}{self.generation:02}-x")

    @property
    def wish(self) -> Wish:
        return self.heads[-1][1] if self.heads else {}

    def paths(self) -> list[str]:
        name = f"f{self.number}g{self.generation}"
        return [
            f"{name}/a.py",
            f"{name}/b.py",
            f"{name}.txt",
            f"line {self.number * 15}",
            f"line {self.number * 15 + 7}",
        ]


class Histories(RuleBasedStateMachine):
    """Developers, hotfixes, promotions and rollbacks, one after the other in any order."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="feature-delivery-test-"))
        self.world = GitWorld.make(self.directory, files=render({"README": "shop\n"}))
        self.repository = GitRepository(str(self.world.host), self.directory / "mirror")
        self.shop: Wish = {"README": "shop\n"}
        self.features = {number: Feature(number) for number in FEATURES}
        self.live: tuple[Feature, Candidate, Wish] | None = None
        self.tips = [self.world.head(PRODUCTION)]
        self.counter = 0
        for feature in self.features.values():
            # Whole and in force from the start: most of what can go wrong comes after a first delivery.
            self._push(feature, {path: self._content(path) for path in feature.paths()}, on=self.tips[0])

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    def _content(self, path: str) -> str:
        self.counter += 1
        one = f"{path} version {self.counter}"
        return one if path.startswith("line ") else f"{one}\nunlike any other {path[::-1]}\n{path * 3}\n"

    def _push(self, feature: Feature, wish: Wish, *, on: CommitSha) -> None:
        """Commit so that every path the feature speaks of is as it wishes; the rest stays as it is on the branch."""
        have = {path: data.decode() for path, data in self.world.files(on).items()}
        files = render(wish)
        changes: dict[str, str | bytes | None] = {
            path: files.get(path) for path in feature.paths() if not path.startswith("line ")
        }
        lines = have["cart.py"].splitlines()
        for path in feature.paths():
            if path.startswith("line "):
                number = int(path.split()[1])
                lines[number] = render(wish)["cart.py"].splitlines()[number]
        changes["cart.py"] = "\n".join(lines) + "\n"
        head = self.world.commit(feature.branch, {p: c for p, c in changes.items() if have.get(p) != c}, on=on)
        feature.heads.append((head, wish))

    @rule(number=st.sampled_from(FEATURES), index=st.integers(0, 4), delete=st.booleans())
    def push_one_change(self, *, number: int, index: int, delete: bool) -> None:
        """Write exactly one path, as a fix does: whatever a pull took away stays away."""
        feature = self.features[number]
        path = feature.paths()[index]
        content = None if delete and feature.wish.get(path) is not None else self._content(path)
        on = self.world.branches().get(feature.branch) or self.world.head(PRODUCTION)
        have = {name: data.decode() for name, data in self.world.files(on).items()}
        if path.startswith("line "):
            lines = have["cart.py"].splitlines()
            lines[int(path.split()[1])] = content or render({})["cart.py"].splitlines()[int(path.split()[1])]
            changes: Wish = {"cart.py": "\n".join(lines) + "\n"}
        else:
            changes = {path: content}
        if all(have.get(name) == text for name, text in changes.items()):
            return  # A merge took it away already, so the developer finds nothing to take back.
        head = self.world.commit(feature.branch, changes, on=on)
        feature.heads.append((head, {**feature.wish, path: content}))

    @rule(number=st.sampled_from(FEATURES), back=st.integers(1, 4), indexes=st.sets(st.integers(0, 4), min_size=1))
    def force_push(self, number: int, back: int, indexes: set[int]) -> None:
        """Drop the newest commits for one that keeps some of their paths; a squash when everything goes."""
        feature = self.features[number]
        if not feature.heads:
            return
        kept = feature.heads[:-back]
        base = kept[-1][0] if kept else self.tips[0]
        old = kept[-1][1] if kept else {}
        wish = {**old, **{feature.paths()[index]: self._content(feature.paths()[index]) for index in sorted(indexes)}}
        feature.heads = kept
        self._push(feature, wish, on=base)
        feature.doubtful = feature.doubtful and bool(kept)

    @rule(number=st.sampled_from(FEATURES))
    def squash_onto_production(self, number: int) -> None:
        """One commit with all that the feature wants, on top of production as it is."""
        feature = self.features[number]
        if feature.heads:
            # What an earlier delivery held and this one does not want could be lost as well as left out.
            feature.doubtful = feature.doubtful or bool(feature.past)
            self._push(feature, feature.wish, on=self.world.head(PRODUCTION))

    @precondition(lambda self: self.live is None)
    @rule(line=st.sampled_from([3, 50, 55]))
    def hotfix(self, line: int) -> None:
        path = f"line {line}"
        self.shop = {**self.shop, path: self._content(path)}
        self.tips.append(self.world.commit(PRODUCTION, {"cart.py": render(self.shop)["cart.py"]}))

    @rule(number=st.sampled_from(FEATURES))
    def merge_production(self, number: int) -> None:
        """Merge production into the branch; where Git finds a conflict the developer gives up."""
        feature = self.features[number]
        if not feature.heads:
            return
        before = self.world.head(feature.branch)
        try:
            after = self.world.merge(feature.branch, self.world.head(PRODUCTION))
        except AssertionError:
            return
        if after != before:
            if after == self.world.head(PRODUCTION):
                feature.doubtful = feature.doubtful or bool(feature.past)
            feature.heads.append((after, feature.wish))

    def _expected(self, feature: Feature) -> dict[str, bytes]:
        wanted = {path: text for path, text in feature.wish.items() if path in feature.paths()}
        return {path: text.encode() for path, text in render({**self.shop, **wanted}).items()}

    def _build(self, feature: Feature) -> Candidate | None:
        self.repository.fetch()
        production = self.world.head(PRODUCTION)
        expected = self._expected(feature)
        try:
            candidate = self.repository.build_candidate(
                production=production,
                feature=self.world.head(feature.branch),
                past=tuple(feature.past),
                message="Ship",
            )
        except Refused as error:
            if not feature.doubtful and expected != self.world.files(production):
                raise AssertionError("a whole feature was refused") from error
            return None
        branch = BranchName(f"candidate/SHOP-{feature.number}")
        self.repository.publish_candidate(branch, candidate.commit, over=self.repository.heads().get(branch))
        assert self.world.files(candidate.commit) == expected
        return candidate

    @rule(number=st.sampled_from(FEATURES))
    def build(self, number: int) -> None:
        feature = self.features[number]
        if feature.heads and self._deliverable(feature):
            self._build(feature)

    def _deliverable(self, feature: Feature) -> bool:
        return self.live is None or self.live[0] is not feature

    @precondition(lambda self: self.live is None)
    @rule(number=st.sampled_from(FEATURES), verdict=st.sampled_from(["roll back", "roll back", "later", "keep"]))
    def ship(self, number: int, verdict: str) -> None:
        feature = self.features[number]
        if not feature.heads:
            return
        candidate = self._build(feature)
        if candidate is None:
            return
        self.repository.promote(PRODUCTION, old=candidate.base, new=candidate.commit)
        self.repository.promote(PRODUCTION, old=candidate.base, new=candidate.commit)
        self.tips.append(candidate.commit)
        self.live = (feature, candidate, self.shop)
        self.shop = {**self.shop, **{path: feature.wish.get(path) for path in feature.paths()}}
        if verdict == "roll back":
            self.roll_back()
        elif verdict == "keep":
            self.keep()

    @precondition(lambda self: self.live is not None)
    @rule(verdict=st.sampled_from(["roll back", "keep"]))
    def judge(self, verdict: str) -> None:
        if verdict == "keep":
            self.keep()
        else:
            self.roll_back()

    def roll_back(self) -> None:
        assert self.live is not None
        feature, candidate, before = self.live
        back = self.repository.build_restoration(
            head=candidate.commit, before=candidate.base, promoted=candidate.commit, message="Back"
        )
        self.repository.promote(PRODUCTION, old=candidate.commit, new=back.sha)
        self.tips.append(back.sha)
        assert back.tree == self.repository.tree_of(candidate.base)
        feature.past.append(PastDelivery(candidate.base, candidate.commit, back.sha))
        self.live, self.shop = None, before

    def keep(self) -> None:
        """The feature is done; its branch goes, and another one begins under a new name."""
        assert self.live is not None
        feature = self.live[0]
        head = self.repository.heads()[feature.branch]
        assert self.repository.delete_branch(feature.branch, expect=head)
        self.features[feature.number] = Feature(feature.number, feature.generation + 1)
        self.live = None

    @invariant()
    def production_only_ever_moves_forward(self) -> None:
        if hasattr(self, "tips"):
            assert self.world.head(PRODUCTION) == self.tips[-1]
            for old, new in zip(self.tips[-2:], self.tips[-1:], strict=False):
                assert self.world.merge_base(old, new) == old


EXAMPLES = int(os.environ.get("FEATURE_DELIVERY_EXAMPLES", "10"))

Histories.TestCase.settings = settings(
    max_examples=max(EXAMPLES // 2, 5),
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_a_feature_survives_rollback_after_rollback(seed: int) -> None:
    """The same histories, driven to where it hurts: rollbacks, and what developers do then."""
    chance = random.Random(seed)
    history = Histories()
    history.begin()
    number = 1

    def ship_other() -> None:
        history.ship(3 - number, chance.choice(["roll back", "keep"]))

    reactions = [
        lambda: history.push_one_change(number=number, index=chance.randrange(5), delete=False),
        lambda: history.push_one_change(number=number, index=chance.randrange(5), delete=True),
        lambda: history.force_push(number, chance.randint(1, 3), set(chance.sample(range(5), chance.randint(1, 5)))),
        lambda: history.merge_production(number),
        lambda: history.merge_production(number),
        lambda: history.squash_onto_production(number),
        lambda: history.hotfix(chance.choice([3, 50])),
        ship_other,
    ]
    try:
        for _delivery in range(3):
            history.ship(number, "roll back")
            for _reaction in range(chance.randint(0, 3)):
                chance.choice(reactions)()
                history.production_only_ever_moves_forward()
            history.build(number)
    finally:
        history.teardown()
