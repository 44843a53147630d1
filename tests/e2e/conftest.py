"""One running shop for every test that acts on one: a start costs more than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.delivering import DeliveringShop, delivering_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveringShop]:
    """A shop under delivery; what tests leave in it are features that wait at their start."""
    with delivering_shop(tmp_path_factory.mktemp("shop") / "home") as found:
        yield found
