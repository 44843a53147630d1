"""Pre-production's word beside production's: shown, never counted."""

from __future__ import annotations

from typing import get_args

import pytest

from feature_delivery.domain.judging.beside import beside
from feature_delivery.domain.judging.findings import Finding, Judgement, Outcome


def judged(outcome: Outcome, *, change: float | None, reason: str = "Answers took 40 % longer.") -> Judgement:
    finding = Finding(
        metric="answer under load",
        unit="seconds",
        outcome=outcome,
        reason=reason,
        critical=False,
        weight=2,
        change=change,
    )
    return Judgement(outcome=outcome, recommendation="decide", reasons=(reason,), findings=(finding,))


@pytest.mark.parametrize(
    ("production", "preprod", "words"),
    [
        ("fail", judged("fail", change=0.4), "the release and not the hour: Answers took 40 % longer."),
        ("pass", judged("fail", change=0.4), "Mind what the load in pre-production had shown: Answers took"),
        ("no_data", judged("fail", change=None), "Mind what"),
        ("fail", judged("pass", change=0.01), "look at what differs in production"),
        ("pass", judged("pass", change=0.01), "no worse than the release before, either."),
    ],
)
def test_both_words_make_a_sentence(production: Outcome, preprod: Judgement, words: str) -> None:
    assert words in beside(production, preprod)


@pytest.mark.parametrize("production", get_args(Outcome))
def test_what_was_not_compared_says_nothing(production: Outcome) -> None:
    """A first release, a load that was switched off, or one that proved nothing: no reassurance comes of them."""
    for preprod in (
        None,
        judged("pass", change=None),
        judged("inconclusive", change=0.1),
        judged("no_data", change=None),
    ):
        assert beside(production, preprod) == ""
