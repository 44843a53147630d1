"""Whether a project's people can sign a feature off: each gate by itself may have enough, and all of them too few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_delivery.domain.people import SIGN_OFFS
from feature_delivery.domain.process import Step, Who

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.domain.names import PersonName
    from feature_delivery.domain.people import People


@dataclass(frozen=True, slots=True)
class _Lack:
    """Gates that take ``count`` people together, and everybody who may decide at any of them: fewer."""

    gates: tuple[Step, ...]
    count: int
    able: tuple[PersonName, ...]


def why_stuck(people: People) -> str:
    """Return why no feature can be signed off, and what to do; empty when one can.

    One person fills one role per commit, and no author signs off. A team is content as soon as there is one developer
    whose work the others can sign off; where nobody is named as a developer, or a group has them, the author may be
    anybody. Gates that a group of the login service decides at ask for nobody by name: how many it has is not known.
    """
    if people.solo:
        return ""
    lack = _lack(people, author=None)
    if lack is not None:
        return _sentence(lack, authors=())
    authors = sorted(name for name, person in people.persons.items() if Who.DEVELOPER in person.roles)
    if not authors or Who.DEVELOPER in _by_group(people):
        return ""
    lacks = [_lack(people, author=author) for author in authors]
    return "" if None in lacks or lacks[0] is None else _sentence(lacks[0], authors=authors)


def _by_group(people: People) -> frozenset[Who]:
    return frozenset(role for roles in people.groups.values() for role in roles)


def _lack(people: People, *, author: PersonName | None) -> _Lack | None:
    """Return gates that cannot all be filled by different people, ``author`` aside; ``None`` when every one can.

    A matching by augmenting paths. Those who are asked in vain for places that stay empty are everybody who may decide
    at the gates that hold them: these gates are the ones to name (Hall).
    """
    by_group, policies = _by_group(people), people.policies
    places = [
        gate
        for gate in SIGN_OFFS
        if gate in policies and not by_group & policies[gate].roles
        for _ in range(policies[gate].count)
    ]
    able = {gate: [one for one in people.with_role(*policies[gate].roles) if one != author] for gate in set(places)}
    holds: dict[PersonName, int] = {}

    def fill(place: int, asked: set[PersonName]) -> bool:
        for person in able[places[place]]:
            if person in asked:
                continue
            asked.add(person)
            if person not in holds or fill(holds[person], asked):
                holds[person] = place
                return True
        return False

    empty = [place for place in range(len(places)) if not fill(place, set())]
    if not empty:
        return None
    asked: set[PersonName] = set()
    for place in empty:
        fill(place, asked)
    short = {*(places[place] for place in empty), *(places[holds[person]] for person in asked)}
    return _Lack(
        gates=tuple(gate for gate in SIGN_OFFS if gate in short),
        count=sum(policies[gate].count for gate in short),
        able=tuple(sorted(asked)),
    )


def _sentence(lack: _Lack, *, authors: Sequence[PersonName]) -> str:
    """Say it; ``authors``: everybody with whom as the author something is lacking, and ``lack`` with the first."""
    names = [gate.rpartition("wait_for_")[2] for gate in lack.gates]
    one = lack.count == 1
    each = [] if one else ["each another one"]
    each += ["none of them the author"] if authors else []
    gates = f"{_listed(names).capitalize()} take{'s' * (len(names) == 1)} {lack.count} {'person' if one else 'people'}"
    what = ", ".join(filter(None, (gates, " and ".join(each))))
    able = f"only {_listed(lack.able)}" if lack.able else "nobody"
    when = f" when {authors[0]} is the author" if authors else ""
    when += ", and too few when another developer is" if len(authors) > 1 else ""
    skip = f"'gates: {{{names[-1]}: {{skip: true}}}}'"
    return (
        f"{what}, and {able} may decide there{when}: no feature can be signed off. Name more people, "
        f"skip gates ({skip}), or say 'solo: true'."
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
