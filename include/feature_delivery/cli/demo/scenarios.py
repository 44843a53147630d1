"""The scenarios: what happens, who does it, and how it must have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from feature_delivery.cli.demo.checks import Expectation, Facts, must
from feature_delivery.cli.demo.overlay import DemoFeature
from feature_delivery.cli.demo.people import Developer, Person, Stage

START = "intake.wait_for_start"
CODE = "development.wait_for_code"
REQUEST = "review.wait_for_merge_request"
REVIEW = "review.wait_for_review"
ACCEPTANCE = "preprod.wait_for_acceptance"
CONFIRMATION = "preprod.wait_for_confirmation"
TURN = "production.wait_for_turn"
VERDICT = "production.wait_for_verdict"
REWORK = "rollback.wait_for_rework"
DEMONSTRATION = "completion.wait_for_demonstration"


@dataclass
class Play:
    """One feature on its way through a scenario, and the people around it."""

    stage: Stage
    facts: Facts
    feature: Callable[[str], DemoFeature]
    manager: Person = field(init=False)
    reviewer: Person = field(init=False)
    tester: Person = field(init=False)
    operator: Person = field(init=False)

    def __post_init__(self) -> None:
        """Call everybody."""
        self.manager = Person(self.stage, "max")
        self.reviewer = Person(self.stage, "rita")
        self.tester = Person(self.stage, "tess")
        self.operator = Person(self.stage, "olga")

    def developer(self, name: str = "dora") -> Developer:
        """Return a developer with a clone of their own."""
        someone = Developer(self.stage, name)
        if not someone.clone.exists():
            someone.fresh_clone()
        return someone

    def branch(self, key: str) -> str:
        """Return the feature's branch, once it is there."""
        return str(self.stage.until(key, "its branch", lambda found: bool(found["branch"]))["branch"])

    def begin(self, key: str, what: DemoFeature, *, by: str = "dora") -> str:
        """Steps 1 to 4: the issue, somebody who takes it, the branch, a place to develop."""
        self.manager.say(f"writes issue {key}: {what.title}")
        self.manager.post("/issues", {"key": key, "title": what.title, "description": what.description})
        self.manager.post("/features", {"key": key, "title": what.title, "requester": "max"})
        self.stage.until_gate(key, START)
        someone = self.developer(by)
        someone.say(f"takes {key}")
        someone.post(f"/issues/{key}/assign", {"assignee": by})
        self.stage.until_gate(key, CODE)
        return self.branch(key)

    def reviewed(self, key: str, *, attempt: int = 1, by: str = "dora", open_request: bool = True) -> None:
        """Steps 8 to 10, to the acceptance gate."""
        if open_request:
            self.stage.until_gate(key, REQUEST, attempt=attempt)
            someone = self.developer(by)
            someone.say("opens the merge request")
            found = self.stage.feature(key)
            someone.post("/requests", {"source": found["branch"], "title": f"{key} {found['title']}"})
        found = self.stage.until_gate(key, REVIEW, attempt=attempt)
        self.reviewer.say("reads the change and approves it")
        number = found["request"]["number"]
        self.reviewer.post(f"/requests/{number}/reviews", {"kind": "approve", "comment": "Reads well."})
        self.stage.until_gate(key, ACCEPTANCE, attempt=attempt)

    def preview(self, key: str) -> str:
        """Return the address of pre-production."""
        found = self.stage.feature(key)
        return str(next(e["address"] for e in found["environments"] if e["kind"] == "preprod"))

    def accepted(self, key: str) -> None:
        """Steps 15 to 17."""
        self.tester.look_at(self.preview(key))
        self.tester.decide(key, "acceptance", "approve", "Works as described.")
        self.stage.until_gate(key, CONFIRMATION)
        self.manager.look_at(self.preview(key))
        self.manager.decide(key, "confirmation", "approve", "Ship it.")

    def kept(self, key: str) -> None:
        """Steps 20 to 23."""
        self.stage.until_gate(key, VERDICT)
        self.operator.look_at(self.facts.production_address())
        self.operator.decide(key, "verdict", "keep", "Production is well.")
        self.stage.until_gate(key, DEMONSTRATION)
        self.manager.look_at(self.facts.production_address())
        self.manager.decide(key, "demonstration", "approve", "The client likes it.")
        self.stage.until(
            key, "its end", lambda found: found["state"] == "delivered" and found["run_state"] == "success"
        )

    def shipped(self, key: str, what: DemoFeature, *, by: str = "dora") -> None:
        """Bring a feature with nothing special about it to its end."""
        branch = self.begin(key, what, by=by)
        self.developer(by).write(branch, what.commits[0])
        self.reviewed(key, by=by)
        self.accepted(key)
        self.kept(key)


@dataclass(frozen=True)
class Scenario:
    """``play`` returns the key whose delivery the report is about; ``outcome`` is what must come of it."""

    name: str
    title: str
    outcome: str
    play: Callable[[Play], str]
    keeps: tuple[str, ...] = ()


def delivered(play: Play) -> str:
    """The way through all 23 steps."""
    key, what = play.facts.next_key(), play.feature("gift-cards")
    play.shipped(key, what)
    return key


def rejected(play: Play) -> str:
    """Testers reject; the developer mends; the second attempt ships on the same run."""
    key, what = play.facts.next_key(), play.feature("bulk-discount")
    branch = play.begin(key, what)
    first = play.developer().write(branch, what.commits[0])
    play.reviewed(key)
    play.tester.look_at(play.preview(key))
    complaint = " ".join((what.complaint or "It is wrong.").split())
    play.tester.decide(key, "acceptance", "reject", complaint)
    play.stage.until_gate(key, CODE)
    comments = play.stage.until(
        key, "the comment on its issue", lambda _found: any(complaint in text for text in play.facts.comments(key))
    )
    must(comments["state"] == "active", "The run goes on after a rejection.")
    play.developer().write(branch, what.commits[1])
    play.reviewed(key, attempt=2, open_request=False)
    play.accepted(key)
    play.kept(key)
    found = play.stage.feature(key)
    must(found["attempts"][0]["state"] == "rejected", "The first attempt was rejected.")
    must(found["attempts"][0]["commit"] == first, "The first attempt was the first commit.")
    return key


def superseded(play: Play) -> str:
    """A force-push while the first commit waits for acceptance: nothing of the first counts or stays."""
    key, what = play.facts.next_key(), play.feature("wish-list")
    branch = play.begin(key, what)
    first = play.developer().write(branch, what.commits[0])
    play.reviewed(key)
    play.tester.decide(key, "acceptance", "approve", "Fine so far.")
    play.stage.until_gate(key, CONFIRMATION, attempt=1)
    second = play.developer().write(branch, what.commits[1], force=True)
    play.reviewed(key, attempt=2, open_request=False)
    found = play.stage.feature(key)
    must(found["gate"]["step"] == ACCEPTANCE, "The acceptance of the first commit does not count for the second.")
    only_first = play.facts.files(first) - play.facts.files(second)
    must(bool(only_first), "The first commit has a file that the second lacks.")
    must(not only_first & play.facts.files(found["candidate"]["commit"]), "Nothing of the first is in the candidate.")
    play.accepted(key)
    play.kept(key)
    return key


def _rolled_back(play: Play, key: str, what: DemoFeature) -> str:
    before = play.facts.production_commit()
    branch = play.begin(key, what)
    play.developer().write(branch, what.commits[0])
    play.reviewed(key)
    play.accepted(key)
    play.stage.until_gate(key, VERDICT)
    complaint = " ".join((what.complaint or "It breaks production.").split())
    play.operator.decide(key, "verdict", "roll_back", complaint)
    play.stage.until_gate(key, REWORK)
    must(play.facts.tree(play.facts.production_commit()) == play.facts.tree(before), "Production's tree is as before.")
    play.operator.look_at(play.facts.production_address(), "/healthz")
    must(play.facts.issue(key)["state"] != "done", "The issue is open again.")
    play.stage.until(key, "the reason on its issue", lambda _f: any(complaint in t for t in play.facts.comments(key)))
    must(branch in play.facts.branches(), "The feature's branch is kept.")
    return branch


def rolled_back(play: Play) -> str:
    """The feature breaks production's integration tests; the verdict is to roll back."""
    key = play.facts.next_key()
    _rolled_back(play, key, play.feature("loyalty-points"))
    return key


def redelivered(play: Play) -> str:
    """After a rollback the developer pushes a fix on top; the whole feature ships, not only the fix."""
    key, what = play.facts.next_key(), play.feature("loyalty-points")
    before = play.facts.production_commit()
    branch = _rolled_back(play, key, what)
    promoted = play.stage.feature(key)["candidate"]["commit"]
    play.developer().write(branch, what.commits[1])
    play.reviewed(key, attempt=2, open_request=False)
    play.accepted(key)
    play.kept(key)
    whole = play.facts.files(promoted) - play.facts.files(before)
    must(bool(whole), "The feature adds files.")
    must(whole <= play.facts.files(play.facts.production_commit()), "The whole feature is in production.")
    return key


def uncertain(play: Play) -> str:
    """The deploy to production fails after the branch has moved."""
    key, what = play.facts.next_key(), play.feature("slow-start")
    before = play.facts.production_commit()
    branch = play.begin(key, what)
    play.developer().write(branch, what.commits[0])
    play.reviewed(key)
    play.accepted(key)
    play.stage.until_gate(key, VERDICT)
    must(play.facts.project()["lock"] is not None, "The lock stays while production is uncertain.")
    play.operator.look_at(play.facts.production_address(), "/healthz")
    play.operator.decide(key, "verdict", "roll_back", "The new version does not start in production.")
    play.stage.until_gate(key, REWORK)
    must(play.facts.tree(play.facts.production_commit()) == play.facts.tree(before), "Production's tree is as before.")
    play.operator.look_at(play.facts.production_address(), "/healthz")
    must(play.facts.project()["lock"] is None, "Production is free after the rollback.")
    return key


def conflict(play: Play) -> str:
    """Two features wait for production; the second is rebuilt on the first; a third really conflicts."""
    one, two, three = (play.facts.next_key(offset) for offset in range(3))
    first, clean, clash = play.feature("gift-cards"), play.feature("gift-wrap"), play.feature("gift-wrap-clash")
    for key, what, by in ((one, first, "dora"), (two, clean, "dean"), (three, clash, "dora")):
        branch = play.begin(key, what, by=by)
        play.developer(by).write(branch, what.commits[0])
        play.reviewed(key, by=by)
    play.accepted(one)
    play.stage.until_gate(one, VERDICT)
    play.accepted(two)
    play.stage.until_gate(two, TURN)
    built = play.stage.feature(two)["candidate"]["commit"]
    play.accepted(three)
    play.stage.until_gate(three, TURN)
    play.kept(one)
    play.stage.until_gate(two, VERDICT)
    found = play.stage.feature(two)
    must(found["candidate"]["commit"] != built, "The second candidate was built again.")
    must(found["candidate"]["base"] == play.stage.feature(one)["candidate"]["commit"], "It stands on the first.")
    play.kept(two)
    play.stage.until_gate(three, CODE)
    must(play.facts.project()["lock"] is None, "A conflict leaves production free.")
    must(play.stage.feature(three)["attempts"][-1]["state"] == "rejected", "The third went back to its developer.")
    play.manager.post(f"/features/{three}/cancel", {"reason": "The client does not need two kinds of wrapping."})
    play.stage.until(three, "its end", lambda f: f["state"] == "cancelled" and f["run_state"] == "success")
    return two


def abandoned(play: Play) -> str:
    """The feature's branch is deleted midway: everything of it goes, nothing else."""
    key, what = play.facts.next_key(), play.feature("gift-cards")
    branches = play.facts.branches()
    branch = play.begin(key, what)
    play.developer().write(branch, what.commits[0])
    play.stage.until_gate(key, REQUEST)
    play.developer().delete_branch(branch)
    play.stage.until(key, "its end", lambda f: f["state"] == "abandoned" and f["run_state"] == "success")
    must(play.facts.branches() == branches, "No other branch came or went.")
    return key


SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        Scenario("delivered", "The way through all 23 steps", "delivered", delivered),
        Scenario("rejected", "Rejected by the testers, mended, shipped", "delivered", rejected),
        Scenario("superseded", "A newer commit takes the place of the first", "delivered", superseded),
        Scenario("rolled_back", "Rolled back from production", "rolled_back", rolled_back, ("development",)),
        Scenario("redelivered", "Rolled back, mended, shipped whole", "delivered", redelivered),
        Scenario("uncertain", "The deploy to production fails", "rolled_back", uncertain, ("development",)),
        Scenario("conflict", "Two features on their way to production", "delivered", conflict),
        Scenario("abandoned", "The branch is deleted midway", "abandoned", abandoned),
    )
}


def play_scenario(scenario: Scenario, play: Play) -> tuple[str, list[Expectation]]:
    """Act the scenario out and check how it ended; returns the key and what was expected."""
    key = scenario.play(play)
    found: dict[str, Any] = play.stage.feature(key)
    expected = [
        Expectation("the outcome", scenario.outcome, play.facts.outcome(found)),
        Expectation("environments left", ["production", *scenario.keeps], play.facts.environments(key)),
        Expectation("production answers", "200", play.facts.health()),
    ]
    return key, expected
