"""A local platform for each test, with nothing left of it in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_bench import (
    PROJECT,
    Bench,
    processes_of,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "environments")
    yield bench
    bench.platform.stop_all(PROJECT)
    assert processes_of(bench.root) == []
