"""Marks: how a ledger finds out that another control plane of its instance works beside it (``domain/marks.py``)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from feature_delivery.domain.marks import ANY, Claim
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import Event
from feature_delivery.services.control import brake
from feature_delivery.services.control.scene import WRITES

if TYPE_CHECKING:
    from feature_delivery.domain.names import ProjectName
    from feature_delivery.ports.ledger import Books, Unit

CLAIMED = (WRITES - {Step.PROVISION_DEVELOPMENT, Step.PROVISION_PREPROD}) | {Step.PROMOTE, Step.RESTORE_BRANCH}
"""Steps that change or remove what runs; what only creates something can wait for those to find the other one out."""


def claim(unit: Unit, project: ProjectName) -> Claim:
    """Make up a mark and return the leave to put it in the place of those of this ledger.

    The marks from before are what may be there: each was written down before anybody left it.

    Raises:
        Unavailable: The ledger may be a copy, or the project is another instance's.
    """
    brake.must_not_be_held(unit.books, project)
    unit.books.lock_project(project)
    return new_claim(unit.books, project)


def new_claim(books: Books, project: ProjectName) -> Claim:
    """Return a claim for whoever holds the project's lock and has looked whether the ledger is held."""
    fresh = secrets.token_hex(8)
    return Claim(instance=books.instance(), fresh=fresh, known=tuple(books.new_mark(project, fresh)))


def left(unit: Unit, project: ProjectName, mark: str) -> None:
    """Note that a mark was left: nobody finds the ones before it any more."""
    unit.books.lock_project(project)
    unit.books.mark_left(project, mark)


def contested(unit: Unit, project: ProjectName, found: str) -> str:
    """Hold the ledger because of a strange mark; returns why, empty when the mark is our own of a moment ago.

    A task of ours may have been overtaken by another one between its permit and its claim.
    """
    unit.books.lock_project(project)
    if any(unit.books.is_our_mark(project, mark) for mark in (found, ANY)):
        return ""  # or an operator has said meanwhile that this is the one
    instance = unit.books.instance()
    why = (
        f"where {project} runs, another control plane of instance {instance} has left its mark since this ledger last "
        "did. It was copied or restored beside the one that goes on, or it is older than what was done there"
    )
    unit.books.contest(why)
    unit.books.add(Event(project=project, feature_id=None, kind="brake", text=f"Everything stops: {why}."))
    return unit.books.installation().fault
