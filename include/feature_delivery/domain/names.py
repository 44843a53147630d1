"""Names from outside, checked once at the edge and carried by types of their own afterwards.

No name from outside reaches a shell, a URL path, a file path or HTML unescaped: the patterns here are stricter than
what Git and trackers allow, and a name that does not fit is refused with a sentence.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from feature_delivery.domain.errors import Refused

ProjectName = NewType("ProjectName", str)
FeatureKey = NewType("FeatureKey", str)
BranchName = NewType("BranchName", str)
CommitSha = NewType("CommitSha", str)
TreeSha = NewType("TreeSha", str)
PersonName = NewType("PersonName", str)

PROJECT_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
KEY_PATTERN = r"^[A-Z][A-Z0-9_]{0,19}-[1-9][0-9]{0,8}$"
SHA_PATTERN = r"^[0-9a-f]{40}([0-9a-f]{24})?$"
PERSON_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,79}$"
# Git's own rules (git check-ref-format) and no shell, glob or quoting characters at all.
BRANCH_PATTERN = r"^(?!.*(\.\.|//|@\{|\.lock(/|$)|/\.|\./|\.$))[A-Za-z0-9_][A-Za-z0-9._/@+#-]{0,199}(?<!/)$"


def _checked(what: str, value: str, pattern: str, example: str) -> str:
    # \Z, not $: a trailing newline must not pass.
    if not isinstance(value, str) or not re.match(pattern.removesuffix("$") + r"\Z", value):
        shown = value if isinstance(value, str) else type(value).__name__
        raise Refused(f"{shown[:80]!r} is not {what}. Use a name like {example!r}.")
    return value


def project_name(value: str) -> ProjectName:
    """Return ``value`` as a project name, or raise ``Refused``."""
    return ProjectName(_checked("a project name", value, PROJECT_PATTERN, "demo_store"))


def feature_key(value: str) -> FeatureKey:
    """Return ``value`` as an issue key, or raise ``Refused``."""
    return FeatureKey(_checked("an issue key", value, KEY_PATTERN, "SHOP-123"))


def branch_name(value: str) -> BranchName:
    """Return ``value`` as a branch name, or raise ``Refused``."""
    return BranchName(_checked("a branch name", value, BRANCH_PATTERN, "feature/SHOP-123-gift-cards"))


def commit_sha(value: str) -> CommitSha:
    """Return ``value`` as a full commit id, or raise ``Refused``."""
    return CommitSha(_checked("a full commit id", value, SHA_PATTERN, "3f9c2ab…, 40 hexadecimal digits"))


def tree_sha(value: str) -> TreeSha:
    """Return ``value`` as a full tree id, or raise ``Refused``."""
    return TreeSha(_checked("a full tree id", value, SHA_PATTERN, "3f9c2ab…, 40 hexadecimal digits"))


def person_name(value: str) -> PersonName:
    """Return ``value`` as the user name of a person, or raise ``Refused``."""
    return PersonName(_checked("a user name", value, PERSON_PATTERN, "alice"))


def slug(text: str, *, limit: int = 40) -> str:
    """Return ``text`` in lower-case ASCII words joined by hyphens, at most ``limit`` characters; may be empty."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:limit].strip("-")


def environment_name(kind: str, key: FeatureKey | None) -> str:
    """Return the name of an environment: a DNS label of at most 63 characters, unique per kind and key.

    ``production`` has no key. A name that would be too long, or that loses characters of the key, ends with a hash
    of the key, so that two keys never share an environment.
    """
    if key is None:
        return kind
    plain = slug(key, limit=200)
    lossless = plain.replace("-", "_").upper() == key.replace("-", "_") and "_" not in key
    if lossless and len(kind) + 1 + len(plain) <= 63:
        return f"{kind}-{plain}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    return f"{kind}-{plain[: 63 - len(kind) - 12].strip('-')}-{digest}"


def run_id(key: FeatureKey, delivery: int) -> str:
    """Return the DAG run id of the ``delivery``-th delivery (from 1) of ``key``: ``SHOP-1``, then ``SHOP-1__2``."""
    return key if delivery == 1 else f"{key}__{delivery}"
