"""Bringing one task to one point of its life, to put something else right there."""

from __future__ import annotations

from feature_delivery.domain.process import Step
from tests.support.performing import Process
from tests.support.world import World


def until(world: World, step: Step, at: str) -> Process:
    """Let everything run until the process of ``step`` stands before ``at``, and hand it out."""
    for _ in range(2000):
        world.schedule()
        found = [p for p in world.processes if p.task.step is step and not p.zombie]
        if found and found[0].at.startswith(at):
            return found[0]
        others = [i for i, p in enumerate(world.processes) if not p.zombie]
        assert others, f"nothing runs, and {step} never came to {at!r}"
        world.advance(world.processes.index(found[0]) if found else others[0])
    raise AssertionError(f"{step} never came to {at!r}")


def go_on(world: World, process: Process) -> None:
    """Let this one process go on to its end."""
    while process in world.processes:
        world.advance(world.processes.index(process))


def kill(world: World, process: Process, *, again: bool = True, lives_on: bool = False) -> None:
    """Kill this one process."""
    world.kill(world.processes.index(process), again=again, lives_on=lives_on)
