"""Pre-production's word beside production's: it explains, and decides nothing.

Pre-production is another machine with other data and a made-up load. So its level is never held against production's;
only what each of them found against its own past is put side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feature_delivery.domain.judging.findings import Judgement, Outcome


def beside(production: Outcome, preprod: Judgement | None) -> str:
    """Return a sentence on what the load in pre-production had shown of the same candidate; empty: nothing.

    Args:
        production: What the watch on production found.
        preprod: How the load on the candidate was judged.
    """
    if preprod is None:
        return ""
    worse = next((one.reason for one in preprod.findings if one.outcome == "fail"), "")
    if worse:
        if production == "fail":
            return f"The load in pre-production had shown it, too, so it is the release and not the hour: {worse}"
        return f"Mind what the load in pre-production had shown: {worse}"
    compared = any(one.outcome == "pass" and one.change is not None for one in preprod.findings)
    if not compared:
        return ""
    if production == "fail":
        return (
            "The load in pre-production had found it no worse than the release before: look at what differs in "
            "production, its data, its traffic and its neighbours."
        )
    return "The load in pre-production had found it no worse than the release before, either."
