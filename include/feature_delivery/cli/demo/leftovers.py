"""What a demo that was ended midway has left: features under delivery, and perhaps production's lock."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Conflict, Refused

if TYPE_CHECKING:
    from feature_delivery.cli.demo.scenarios import Play

REASON = "Left over from a demo that was ended midway."


def free_production(play: Play) -> None:
    """Break the lock of a feature that nobody will decide about any more; the adoption of the reset shop settles it."""
    lock = play.facts.project()["lock"]
    if lock is not None:
        play.operator.say(f"breaks production's lock: {lock['key']} is left over from the last demo")
        # It may have been freed this moment, by the delivery itself.
        with suppress(Refused):
            play.operator.post("/lock/break", {"reason": REASON})


def cancel_features(play: Play) -> None:
    """Give up what is still under delivery, so that it comes in nobody's way."""
    for feature in play.stage.api("max").get(play.stage.path("/features")):
        if feature["state"] != "active":
            continue
        play.manager.say(f"cancels {feature['key']}, which is left over from the last demo")
        with suppress(Refused, Conflict):  # its own run may end it first
            play.manager.post(f"/features/{feature['key']}/cancel", {"reason": REASON})
