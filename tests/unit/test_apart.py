"""What one part raises is told, and keeps nobody else waiting."""

from __future__ import annotations

import logging

import pytest

from feature_delivery.domain.errors import Unavailable
from feature_delivery.services.apart import Apart

LOG = logging.getLogger("apart")


def test_what_is_expected_is_logged_as_its_sentence_and_the_rest_with_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = []
    for error in (Unavailable("It is away."), KeyError("a bug"), None):
        with Apart(LOG, "look") as part:
            if error is not None:
                raise error
        said.append(part.sentence)
    assert said == ["It is away.", "Could not look: an unexpected KeyError. The log has it in full.", ""]
    expected, unexpected = caplog.records
    assert (expected.levelno, expected.getMessage(), expected.exc_info) == (
        logging.WARNING,
        "Could not look: It is away.",
        None,
    )
    assert unexpected.levelno == logging.ERROR
    assert unexpected.exc_info is not None
    assert "a bug" not in said[1], "what a library says may hold a secret"


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_whoever_ends_the_process_ends_it(end: type[BaseException]) -> None:
    with pytest.raises(end), Apart(LOG, "look"):
        raise end
