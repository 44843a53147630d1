"""Who opens the merge request: the project says whether we do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import cast

import pytest

from feature_delivery.domain.names import BranchName
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.process import Step
from feature_delivery.domain.project import Choices
from feature_delivery.domain.records import Feature
from feature_delivery.ports.git_host import GitHost, MergeRequest, RequestState
from feature_delivery.services.control import outbox
from feature_delivery.services.control.outside import Control, Outside
from feature_delivery.services.control.requests import observe_request
from tests.support.cooperation import bring, help_on
from tests.support.world import World, shop

OPENED, GATE = Step.WAIT_FOR_REVIEW, Step.WAIT_FOR_MERGE_REQUEST


class Host:
    """A host that keeps requests in the world; any other call is a fault of the test."""

    def __init__(self, world: World) -> None:
        self.world, self.opened = world, 0

    def open_request(self, *, source: BranchName, target: BranchName, title: str, **_more: object) -> MergeRequest:
        found = self.world.requests.get(source)
        if found is None:
            self.opened += 1
            feature = next(f for f in self.world.features() if f.branch == source)
            self.world.open_request(feature, author="us")
            found = self.world.requests[source] = replace(self.world.requests[source], target=target, title=title)
        return found


def control(world: World, host: Host) -> Control:
    # The errands of this test touch the host alone.
    outside = Outside(repository=None, host=cast("GitHost", host), tracker=None, messenger=None)  # type: ignore[arg-type]
    return Control(
        begin=world.begin, project=lambda _: world.project, outside=lambda _: outside, alone=lambda _: nullcontext()
    )


@pytest.fixture
def eager() -> Iterator[World]:
    world = World(project=shop(Choices(start_gate=False, open_request=True)))
    yield world
    world.close()


def waiting_for_a_request(world: World) -> Feature:
    return bring(world, "SHOP-1", GATE)


def errands(world: World, feature: Feature) -> list[str]:
    return [entry.kind for entry in world.books.outbox(feature) if entry.kind is Errand.OPEN_REQUEST]


def run_errands(world: World, host: Host) -> None:
    for entry in world.books.outbox(world.features()[0]):
        if entry.kind is not Errand.OPEN_REQUEST:
            entry.sent_at = world.time
    outbox.drain(control(world, host))
    world.run()


def test_it_is_opened_by_itself_and_the_run_goes_on(eager: World) -> None:
    feature, host = waiting_for_a_request(eager), Host(eager)
    run_errands(eager, host)
    assert eager.parked(feature) == [OPENED]
    request = eager.requests[cast("BranchName", feature.branch)]
    assert request.title == "SHOP-1 A feature"
    assert request.target == eager.project.branches.preprod


def test_it_is_opened_once_however_often_the_gate_is_looked_at(eager: World) -> None:
    feature, host = waiting_for_a_request(eager), Host(eager)
    eager.clear(feature, GATE)
    eager.run()
    assert len(errands(eager, feature)) == 1
    run_errands(eager, host)
    run_errands(eager, host)
    assert host.opened == 1


def test_a_request_closed_by_hand_is_not_opened_again_for_the_same_commit(eager: World) -> None:
    feature, host = waiting_for_a_request(eager), Host(eager)
    run_errands(eager, host)
    closed = replace(eager.requests[cast("BranchName", feature.branch)], state=RequestState.CLOSED)
    with eager.begin() as unit:
        observe_request(unit, eager.project, feature.run_id, closed)
    eager.clear(feature, GATE)
    eager.run()
    assert len(errands(eager, feature)) == 1


def test_where_the_project_does_not_say_so_the_developer_opens_it(world: World) -> None:
    feature = waiting_for_a_request(world)
    assert not errands(world, feature)
    help_on(world, feature)
    world.observe(feature)
    world.run()
    assert world.parked(feature) == [OPENED]
