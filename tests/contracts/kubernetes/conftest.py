"""An API server of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.kubernetes_bench import (
    KubernetesBench,
    fake_server,
)
from tests.fakes.kubernetes.server import FakeApiServer


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    made = fake_server()
    yield made
    made.close()


@pytest.fixture
def bench(server: FakeApiServer) -> KubernetesBench:
    return KubernetesBench(server)
