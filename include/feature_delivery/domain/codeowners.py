"""CODEOWNERS: who looks after which files, in the dialects of GitHub, GitLab and Gitea.

GitHub and GitLab write patterns like ``.gitignore``, the last one that fits counts (on GitLab in each section); Gitea
writes regular expressions, and every one that fits counts. What a host itself would refuse is left out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

PLACES = ("CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", ".gitea/CODEOWNERS", "docs/CODEOWNERS")
"""Where hosts look for the file; the host's own folder first, see ``places``."""

_SECTION = re.compile(r"^\^?\[[^\]]*\](\[\d+\])?")
_PATTERN_LIMIT = 300


@dataclass(slots=True)
class _Section:
    defaults: list[str] = field(default_factory=list)
    rules: list[tuple[re.Pattern[str], list[str], bool]] = field(default_factory=list)


def places(kind: str) -> tuple[str, ...]:
    """Return where a host of ``kind`` looks for the file, the first one that is there counts."""
    own = f".{kind}/CODEOWNERS"
    return (own, *(place for place in PLACES if place != own)) if kind == "github" else PLACES


def owners(text: str, paths: Iterable[str], *, kind: str) -> tuple[str, ...]:
    """Return the owners of ``paths`` as they stand in the file: ``@login``, ``@group/team`` or an e-mail address.

    Args:
        text: The file.
        paths: Changed files, without a leading slash.
        kind: The host's: ``gitea`` reads regular expressions.
    """
    sections = _gitea(text) if kind == "gitea" else _globs(text)
    found: dict[str, None] = {}
    for path in paths:
        for section in sections:
            for owner in _of(section, path, every=kind == "gitea"):
                found.setdefault(owner)
    return tuple(found)


def _of(section: _Section, path: str, *, every: bool) -> list[str]:
    fitting = [who for pattern, who, yes in section.rules if bool(pattern.match(path)) is yes]
    if every:
        return [owner for who in fitting for owner in who]
    return fitting[-1] if fitting else []


def _globs(text: str) -> list[_Section]:
    sections = [_Section()]
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if head := _SECTION.match(line):
            sections.append(_Section(defaults=_names(line[head.end() :].split())))
            continue
        words = re.split(r"(?<!\\)\s+", line)
        pattern = _glob(words[0].replace("\\ ", " ").replace("\\#", "#"))
        named = list(_until_comment(words[1:]))
        if pattern is not None and not words[0].startswith("!"):
            # A path without owners takes them away, except where its section has owners of its own.
            sections[-1].rules.append((pattern, _names(named) if named else list(sections[-1].defaults), True))
    return sections


def _gitea(text: str) -> list[_Section]:
    section = _Section()
    for raw in text.splitlines():
        words = raw.strip().split()
        if len(words) < 2 or words[0].startswith("#"):
            continue
        negative = words[0].startswith("!")
        pattern = _regular(words[0][negative:])
        if pattern is not None:
            section.rules.append((pattern, _names(_until_comment(words[1:])), not negative))
    return [section]


def _until_comment(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if word.startswith("#"):
            return
        yield word


def _names(words: Iterable[str]) -> list[str]:
    return [word for word in words if re.fullmatch(r"@[\w.\-/]{1,200}|[^@\s]+@[^@\s]+", word)]


@cache
def _glob(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern of ``.gitignore``'s kind as a regular expression on whole paths; ``None``: it is none."""
    if len(pattern) > _PATTERN_LIMIT or not pattern.strip("/"):
        return re.compile("") if pattern == "/" else None
    rooted = "/" in pattern.rstrip("/")
    body = re.sub(r"\*{2,}/(?:\*\*/)*", "**/", pattern.removeprefix("/"))
    parts: list[str] = []
    for piece in re.findall(r"\*\*/|/\*\*$|\*+|\?|[^*?/]+|/", body):
        match piece:
            case "**/":
                parts.append("(?:.*/)?")
            case "/**":
                parts.append("/.*")
            case "?":
                parts.append("[^/]")
            case _ if piece.startswith("*"):
                parts.append("[^/]*")
            case _:
                parts.append(re.escape(piece))
    # A directory stands for everything below it; GitHub's "docs/*" alone does not.
    below = "" if body.endswith("/*") and not body.endswith("**") else r".*" if body.endswith("/") else r"(?:/.*)?"
    return re.compile(("" if rooted else "(?:.*/)?") + "".join(parts) + below + r"\Z")


@cache
def _regular(pattern: str) -> re.Pattern[str] | None:
    # A repetition of what repeats itself can take for ever in Python, though not in Gitea: left out.
    if len(pattern) > _PATTERN_LIMIT or re.search(r"[*+}]\)*[*+{]|\([^)]*[*+|][^)]*\)[*+{]", pattern):
        return None
    # Go's [[:alpha:]], and what Python means to read as set operations one day: it would warn of them.
    if re.search(r"\[\^?\[|--|&&|~~|\|\|", pattern):
        return None
    try:
        return re.compile(rf"(?:{pattern})\Z")
    except re.error:
        return None
