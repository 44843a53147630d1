"""The judge's report for people: text, Markdown, plots; what happens with it in the control plane."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feature_delivery.domain.judging.findings import Finding, Judgement, Level
from feature_delivery.domain.work import Observed
from feature_delivery.services.control import observations
from feature_delivery.services.control.report import plot, shown_as_markdown, shown_as_text
from feature_delivery.web.board import plots

SLOW = Finding(
    metric="latency",
    unit="seconds",
    outcome="fail",
    reason="Latency: 130 ms after 100 ms (+30 %): worse, and not by chance (p 0.0001).",
    critical=True,
    weight=2,
    limit=0.5,
    before=Level(samples=120, expected=120, level=0.1),
    after=Level(samples=18, expected=18, level=0.13),
    change=0.3,
    p_value=0.0001,
    effect=0.99,
    independent=9,
    before_values=(0.1,) * 6,
    after_values=(0.3, 0.13, 0.13, 0.13),
    warm_up_values=1,
)
SAID = Judgement(
    outcome="fail", recommendation="roll_back", reasons=(SLOW.reason,), findings=(SLOW,), source="Prometheus"
)


def test_the_text_recommends_says_why_and_draws() -> None:
    first, second = shown_as_text(SAID).splitlines()
    assert first == f"Roll it back: it got worse. {SLOW.reason}"
    assert second == "❌ latency: 100 ms → 130 ms +30 % ▁▁▁▁▁▁┃█▂▂▂"


def test_the_markdown_is_a_table_whose_words_do_no_harm() -> None:
    evil = replace(SLOW, metric="<img src=x>|`")
    text = shown_as_markdown(replace(SAID, findings=(evil,)))
    assert "**Recommendation.** Roll it back" in text
    assert "<img" not in text
    assert "100 ms | 130 ms" in text


def test_next_to_nothing_is_not_drawn() -> None:
    bare = replace(SLOW, before_values=(), after_values=(1.0,))
    assert plot(bare) == ""
    assert plots.plot(bare) is None


def test_the_picture_shows_the_release_the_warm_up_and_a_limit_that_is_near() -> None:
    drawn = plots.plot(SLOW)
    assert drawn is not None
    assert len(drawn.before.split()) == 6
    assert len(drawn.after.split()) == 4
    assert 0 < drawn.release < drawn.counted < plots.WIDTH
    assert drawn.limit is None, "half a second is far above"
    near = plots.plot(replace(SLOW, limit=0.35))
    assert near is not None
    assert near.limit is not None
    heights = [float(point.split(",")[1]) for point in (*near.before.split(), *near.after.split())]
    assert all(0 <= height <= plots.HEIGHT for height in heights)


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (-1.0, 1.0)])
def test_flat_and_negative_lines_stay_in_the_picture(values: tuple[float, ...]) -> None:
    drawn = plots.plot(replace(SLOW, before_values=values, after_values=values, limit=None, warm_up_values=0))
    assert drawn is not None
    heights = [float(point.split(",")[1]) for point in drawn.before.split()]
    assert all(0 <= height <= plots.HEIGHT for height in heights)


def test_what_a_permit_keeps_of_a_result_is_not_its_figures() -> None:
    observed = Observed(outcome="fail", evidence=("why",), judgement=SAID)
    assert observations.as_facts(observed) == {
        "kind": "observed", "outcome": "fail", "evidence": ("why",), "judgement": None, "measured": None,
    }  # fmt: skip
