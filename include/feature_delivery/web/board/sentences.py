"""Sentences of the control plane in the reader's language.

They are made where the rules are, in English, and are the same in log, CLI, Slack and here. The catalogue knows their
patterns; a sentence that fits none of them is shown as it was said. A test holds these patterns to their sources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from feature_delivery.domain.people import DecisionKind
from feature_delivery.web.board.words import GATES, METRICS, N_, STATIONS, UNITS, WHO

PATTERNS: tuple[str, ...] = (
    # domain.people
    N_("Nobody decides at %(gate)s: it waits for an event."),
    N_("%(kind)s is no answer at %(gate)s: say %(allowed)s."),
    N_("%(person)s is not %(roles)s of this project: %(able)s may decide at %(gate)s."),
    N_("%(person)s worked on this commit: somebody else must approve at %(gate)s."),
    N_("%(person)s has decided at %(gate)s already: one person fills one role per commit."),
    # domain.project
    N_(
        "Could not look up what %(name)s may do in %(project)s: the service that people log in with has not said "
        "lately who is in the groups of its project file; the API server's log says why. Nothing follows from that: "
        "it can be said again when the service answers."
    ),
    # services.control.decide and verdict
    N_(
        "Could not look up whether %(person)s worked on %(commit)s: it has authors whom nobody here is known to be, "
        "and the service that people log in with has not said lately who is in the groups. Say it again when it "
        "answers."
    ),
    N_("%(key)s was %(state)s: there is nothing to decide any more."),
    N_("This was said about %(commit)s, but %(key)s is at %(at)s: look again."),
    N_("%(key)s has not been kept in production: it cannot be shown yet."),
    N_("A rejection needs a comment that tells the developer why."),
    N_("%(key)s has no commit yet: there is nothing to sign off."),
    N_("Attempt %(number)s of %(key)s is %(state)s: its sign-offs are closed."),
    N_("%(key)s has nothing in production that waits for a verdict: it is %(where)s."),
    N_("%(key)s is not deployed to production yet: wait for %(step)s."),
    # services.control.glass
    N_("%(person)s is no operator of %(project)s: %(able)s may break glass."),
    N_("Breaking glass needs a reason: everybody is told, and it is kept."),
    N_("An override stands for people, not for work or tests. %(why)s"),
    N_("No freeze window keeps %(key)s from production: there is nothing to override."),
    # services.control.flags
    N_("%(name)s freezes production until %(ends)s (%(zone)s). May override it, with a reason: %(able)s."),
    N_("Somebody to take %(key)s: assign it, move it to in progress, or approve the start."),
    N_("Keep or roll back: %(who)s may say so. %(evidence)s"),
    N_("%(freeze)s Keep or roll back: %(who)s may say so. %(evidence)s"),
    N_("A new commit on %(branch)s, or the cancellation of %(key)s."),
    N_("The client to be shown %(key)s."),
    N_("A merge request from %(branch)s to %(target)s."),
    N_("%(number)s approval of: %(able)s."),
    N_("Production is frozen: %(reason)s"),
    N_("Its migration has no way back: a rollback leaves the data as they are. %(said)s"),
    N_("%(number)s integration tests passed. %(said)s"),
    N_("No integration test has run in production."),
    N_("The deploy to production has not succeeded."),
    N_("Nothing was promoted."),
    N_("The promotion has begun and may have moved production. Clear %(step)s to finish it."),
    N_("%(step)s was begun and has not said how it ended."),
    N_("%(step)s has not run since the last deploy."),
    N_("The rollback is not finished: production stays locked."),
    N_("%(key)s is in production: keep it or roll it back."),
    N_("Production is held by %(holder)s."),
    N_("%(key)s has not been kept in production."),
    # services.work.observing and domain.judging.sentences
    N_("Watched for %(seconds)s seconds by %(source)s."),
    N_("the probe of %(address)s"),
    N_("%(figure)s: no worse than before."),
    N_("%(figure)s%(by)s: worse, and not by chance (p %(p)s)."),
    N_("%(figure)s: looks worse, and may be chance (p %(p)s)."),
    N_("%(figure)s: past the limit of %(limit)s, as before: going back would not help."),
    N_("%(figure)s: %(value)s, limit %(limit)s."),
    N_("%(figure)s: %(at)s is far beyond the bearable."),
    N_("%(figure)s: %(found)s samples from before the release, so nothing to compare with."),
    N_("%(figure)s: only %(found)s of %(expected)s samples are there; that proves nothing."),
    N_("%(figure)s: only %(found)s requests, %(wanted)s are needed to say anything."),
    N_("%(figure)s: no sample after the warm-up, %(expected)s were expected."),
    # domain.judging.beside
    N_("The load in pre-production had shown it, too, so it is the release and not the hour: %(said)s"),
    N_("Mind what the load in pre-production had shown: %(said)s"),
    N_(
        "The load in pre-production had found it no worse than the release before: look at what differs in "
        "production, its data, its traffic and its neighbours."
    ),
    N_("The load in pre-production had found it no worse than the release before, either."),
    # domain.suites
    N_("%(failed)s of %(executed)s %(suite)s tests failed, first %(name)s."),
    N_("The %(suite)s suite ran no test."),
    # web
    N_("%(name)s is nobody of %(project)s: add them to 'people' in its project file."),
    N_("This did not come from a page of the board. Open the board and decide there."),
    N_("This page is another user's, or not ours. Load it again and decide once more."),
    N_("This page is too old to decide on: load it again and look at what is there now."),
    N_("%(project)s has no feature %(key)s under delivery. Start it first."),
)


def translated(sentence: str, text: Callable[[str], str]) -> str:
    """Return a sentence in the language of ``text`` (which translates a message); gates are words in every language.

    What a person said at a gate stays as it was said. The cost grows with the length of the sentence, no faster:
    people write it, and every open page is translated anew with every change.
    """
    if found := _SAID.match(sentence):
        return f"{found[1]}, {text(GATES[found[2]])}:{sentence[found.end() :]}"
    if found := _DECIDED.match(sentence):
        return sentence[: found.start(1)] + text(GATES[found[1]]) + sentence[found.end() :]
    open_ended = f"{sentence} "  # the value at its end is empty
    for pattern, literals, names in _parts():
        values = _between(literals, sentence)
        if values is None:
            values = _between(literals, open_ended)
        if values is not None and (translation := text(pattern)) != pattern:
            named = zip(names, values, strict=True)
            return (translation % {name: _value(name, value, text) for name, value in named}).strip()
    if _metric(sentence.partition(": ")[0]):
        return _figure(sentence, text)
    return _GATE.sub(lambda found: text(GATES[found[0]]), sentence)


_GATE = re.compile("|".join(rf"\b{re.escape(gate)}\b" for gate in GATES))
_SAID = re.compile(rf"(\S+) at ({_GATE.pattern}):")
"""Who said it where, before the words of a person: no sentence to translate, and not one word of English."""
_DECIDED = re.compile(rf"\S+: (?:{'|'.join(DecisionKind)}) at ({_GATE.pattern})")
"""Who decided what where: a line of the history, before the words of a person."""

_SENTENCES = frozenset({"evidence", "said", "source"})
"""Values that are sentences themselves, perhaps several."""

_BETWEEN = re.compile(r"(?<=[.!?]) (?=[A-Z])")
_UNIT = re.compile(r"(?<=\d )(?:ms|s)\b")


def _value(name: str, value: str, text: Callable[[str], str]) -> str:
    """Return what stands in a sentence: names of gates and roles are words, everything else is data."""
    if name in _SENTENCES:
        return " ".join(translated(part, text) for part in _BETWEEN.split(value)) if value else ""
    if name in _FIGURES:
        return _figure(value, text)
    words = {**GATES, **STATIONS, **WHO}
    return " / ".join(text(words[part]) if part in words else part for part in value.split(" or "))


_FIGURES = frozenset({"figure", "by", "value", "limit", "at"})
"""Values that are what was measured: the metric's name, its levels, their units."""


def _metric(name: str) -> str:
    return METRICS.get(name[:1].lower() + name[1:], "")


def _figure(value: str, text: Callable[[str], str]) -> str:
    """Return ``Answer to the probe: 6.5 ms after 3.1 ms`` in the reader's words."""
    name, colon, levels = value.partition(": ") if ": " in value else ("", "", value)
    if known := _metric(name):
        word = text(known)
        name = word[:1].upper() + word[1:]
    after, word, before = levels.rpartition(" after ")
    if word:
        levels = text("%(after)s after %(before)s") % {"after": after, "before": before}
    return name + colon + _UNIT.sub(lambda unit: text(UNITS[unit[0]]), levels)


@cache
def _parts() -> tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]:
    """Return each pattern with its literal parts, and the names of the values between them."""
    split = ((pattern, re.split(r"%\((\w+)\)s", pattern)) for pattern in PATTERNS)
    return tuple((pattern, tuple(parts[::2]), tuple(parts[1::2])) for pattern, parts in split)


def _between(literals: Sequence[str], sentence: str) -> list[str] | None:
    """Return what stands between the literal parts, each value as short as it can be; ``None``: they do not fit.

    Taking each part where it comes first fits whenever any way does, so nothing is ever tried again.
    """
    first, *inner = literals
    if not inner:
        return [] if sentence == first else None
    last, at = inner.pop(), len(first)
    end = len(sentence) - len(last)
    if at > end or not sentence.startswith(first) or not sentence.endswith(last):
        return None
    values = []
    for literal in inner:
        place = sentence.find(literal, at, end)
        if place < 0:
            return None
        values.append(sentence[at:place])
        at = place + len(literal)
    return [*values, sentence[at:end]]
