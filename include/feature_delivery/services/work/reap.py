"""The hands of the reaper: it lists, asks the control plane what may go, destroys that and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Error
from feature_delivery.domain.upkeep import Doomed, Found
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef, EnvironmentStatus
from feature_delivery.services.work.claiming import claim_place

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.ports.control import Control
    from feature_delivery.ports.platform import Platform


def reap(
    control: Control,
    project: ProjectName,
    platform_of: Callable[[str], Platform],
    *,
    say: Callable[[str], None],
) -> tuple[str, ...]:
    """Destroy what the ledger knows to be over, start what has ended; return what failed, one sentence each.

    Called again it goes on where it stood: what is left is listed anew.

    Args:
        control: Says what may go, whose installation this is, and stops where another one of the same id works.
        project: Whose environments.
        platform_of: Makes the project's platform for an installation.
        say: One line for the task log.
    """
    claim = control.claim(project)
    platform = platform_of(claim.instance)
    claim_place(control, project, platform, claim)
    listing = platform.list(project)
    found = [_found(status) for status in listing]
    plan = control.plan_reaping(project, found, left=claim.fresh)
    for line in plan.report:
        say(line)
    failures = []
    for doomed in plan.destroy:
        ref = _ref(project, plan.instance, doomed)
        try:
            platform.destroy(ref)
            if platform.status(ref) is not None:
                failures.append(f"{doomed.name} is still there after it was destroyed.")
                continue
            control.reaped(project, name=doomed.name, generation=doomed.generation)
        except Error as error:
            # One that resists keeps no other alive.
            failures.append(f"{doomed.name}: {error}")
        else:
            there = any(one.ref.name == doomed.name for one in listing)
            say(f"Destroyed {doomed.name}: its feature is over." if there else f"{doomed.name} had gone by itself.")
    return (*failures, *_keep_running(platform, [one for one in listing if one.ref.name in plan.needed], say=say))


def _keep_running(
    platform: Platform, needed: Sequence[EnvironmentStatus], *, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Start what has ended; return what could not be started, one sentence each."""
    failures = []
    for status in needed:
        try:
            # With the generation the platform has seen: whoever has been granted a newer one goes first.
            if platform.keep_running(status.ref, say=say):
                say(f"{status.ref.name} had ended and was started again.")
        except Error as error:
            failures.append(f"{status.ref.name}: {error}")
    return tuple(failures)


def _found(status: EnvironmentStatus) -> Found:
    ref = status.ref
    return Found(
        name=ref.name,
        kind=ref.kind.value,
        key=ref.key,
        instance=ref.instance,
        foreign=status.foreign,
        address=status.address,
        commit=status.commit,
        metrics_path=status.metrics_path,
        health_path=status.health_path,
    )


def _ref(project: ProjectName, instance: str, doomed: Doomed) -> EnvironmentRef:
    return EnvironmentRef(
        instance=instance,
        project=project,
        name=doomed.name,
        kind=EnvironmentKind(doomed.kind),
        key=doomed.key,
        generation=doomed.generation,
    )
