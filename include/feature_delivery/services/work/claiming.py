"""Finding out, before anything is changed, whether another control plane of the instance works at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.errors import Temporary
from feature_delivery.domain.process import Step

if TYPE_CHECKING:
    from feature_delivery.domain.marks import Claim
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.domain.work import Work
    from feature_delivery.ports.control import Control
    from feature_delivery.ports.platform import Platform
    from feature_delivery.services.work.job import Tools

RENEWED = frozenset({Step.DEPLOY_DEVELOPMENT, Step.DEPLOY_PREPROD})
"""Steps that take nothing away from anybody: they wait for no place that does not answer."""


def claim_place(
    control: Control, project: ProjectName, platform: Platform, claim: Claim, *, may_be_away: bool = False
) -> None:
    """Leave our mark where the project runs.

    Args:
        control: Hears of a mark that nobody expected.
        project: Whose place.
        platform: Where it runs.
        claim: The mark, and those it may replace.
        may_be_away: Go on without, where the place does not answer just now.

    Raises:
        Unavailable: Another control plane has left its own there: the ledger holds everything from now on.
        Error: The place cannot be reached.
    """
    try:
        found = platform.claim(project, claim)
    except Temporary:
        if not may_be_away:
            raise
        return
    if found:
        control.contested(project, found)


def claim_for(control: Control, tools: Tools, work: Work) -> None:
    """Leave our mark before a step that changes what runs; raises as ``claim_place`` does."""
    if work.claim is None or work.done:
        return
    platform = tools.platform(work.claim.instance)
    claim_place(control, work.project, platform, work.claim, may_be_away=work.step in RENEWED)
