"""Comparing what was sent with what a secret makes of it: always every secret, always in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence


def signed(body: bytes, secrets: Sequence[bytes], given: str, *, prefix: str = "") -> bool:
    """Say whether ``given`` is ``prefix`` and the hexadecimal HMAC-SHA256 of ``body`` by one of ``secrets``."""
    wanted = (prefix + hmac.new(secret, body, hashlib.sha256).hexdigest() for secret in secrets if secret)
    return same_as_one(given.strip().encode(), (one.encode() for one in wanted))


def same_as_one(given: bytes, wanted: Iterable[bytes]) -> bool:
    """Say whether ``given`` is one of ``wanted``; the time taken tells neither which, nor how much of it is right.

    Digests are compared because ``compare_digest`` alone would tell whether the lengths are the same.
    """
    shown = hashlib.sha256(given).digest()
    right = False
    for one in wanted:
        right |= hmac.compare_digest(shown, hashlib.sha256(one).digest())
    return right and bool(given)
