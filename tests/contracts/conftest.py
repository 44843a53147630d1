"""What several contracts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.real_cluster import RealCluster, given


@pytest.fixture(scope="session")
def given_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster | None]:
    """The cluster that the environment names, with the rights of ``rbac.yaml`` and a node where it has none."""
    place = given()
    if place is None:
        yield None
        return
    made = RealCluster(place, tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()
