"""Secrets in text that others wrote (reasons, names and messages of tests): replaced before anybody is told.

It knows what tokens of common services look like and words that stand before a secret; it is a net under those who
should not have printed one, not a promise.
"""

from __future__ import annotations

import re

MASK = "***"
_TOKENS = re.compile(
    r"""
    \bxox[a-z]-[\w-]{8,} | \bxapp-[\w-]{8,} | https://hooks\.slack\.com/\S+
  | \bgh[pousr]_\w{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,} | \bATATT[\w=-]{16,}
  | \bA[KS]IA[0-9A-Z]{16}\b | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
  | \b[sr]k_(?:live|test)_\w{8,}
  | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_USERINFO = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")
_NAMED = re.compile(
    r"""(?P<name>[\w-]*(?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential)\w*(?:-(?:key|id|value))?["']?\s*[:=]\s*)
    (?:(?P<quote>["']).*?(?P=quote)|[^\s,;&"')}\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_AUTHORIZATION = re.compile(r"\b(?P<scheme>Bearer|Basic|Token)\s+[\w.+/=~-]{6,}", re.IGNORECASE)


def masked(text: str) -> str:
    """Return ``text`` with everything that looks like a secret replaced."""
    text = _TOKENS.sub(MASK, text)
    text = _USERINFO.sub(MASK, text)
    text = _AUTHORIZATION.sub(rf"\g<scheme> {MASK}", text)
    return _NAMED.sub(rf"\g<name>{MASK}", text)
