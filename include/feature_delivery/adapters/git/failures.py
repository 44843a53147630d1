"""What Git says on its standard error, as this package's errors. Git has no error codes worth the name."""

from __future__ import annotations

import re

from feature_delivery.domain.errors import Error, Misconfigured, NotFound, RateLimited, Refused, Unavailable

DAMAGED = re.compile(
    r"object file .* is empty|loose object .* is corrupt|packfile .* (?:cannot be accessed|is far too short|"
    r"does not match)|inflate: data stream error|unable to read tree|garbage at end of loose object|"
    r"index file .* is (?:too small|corrupt)|did not send all necessary objects|does not point to a valid object|"
    r"object corrupt or missing|bad tree object|hash mismatch|file .* is not a GIT packfile",
    re.IGNORECASE,
)
"""Signs that the mirror itself is broken (a power cut, a full disk); it is made anew then."""

_KINDS: tuple[tuple[str, type[Error], str], ...] = (
    (
        (
            r"Authentication failed|could not read (?:Username|Password)|terminal prompts disabled|Access denied|"
            r"Permission denied \(|URL returned error: 40[13]|Invalid username or|Permission to .* denied"
        ),
        Misconfigured,
        "the host does not accept the credentials. Check the user, the token and its rights",
    ),
    (
        r"Host key verification failed",
        Misconfigured,
        "the host's SSH key is unknown or has changed. Add the right one to known_hosts",
    ),
    (
        r"certificate",
        Misconfigured,
        "the host's TLS certificate is not trusted. Name the authority in http.sslCAInfo of the Git config file",
    ),
    (
        r"dubious ownership|owned by someone else",
        Misconfigured,
        (
            "the repository belongs to another system user. Give it to the user that runs this, or name it as "
            "safe.directory in the Git config file"
        ),
    ),
    (
        r"mismatched algorithms|object-format|incompatible hash",
        Misconfigured,
        "the repository uses another hash than SHA-1. Use one that does",
    ),
    (r"URL returned error: 429|Too Many Requests", RateLimited, "the host asks to wait. Try again later"),
    (
        (
            r"Repository not found|does not appear to be a git repository|repository '[^']*' not found|"
            r"repository [^\n]* does not exist|URL returned error: 404|not a git repository"
        ),
        NotFound,
        "there is no Git repository. Check the address",
    ),
    (
        (
            r"not our ref|bad object|not a tree object|not a valid object|Not a valid (?:commit|object) name|"
            r"unknown revision|"
            r"couldn't find remote ref|could not get object info|missing (?:commit|blob|tree)|bad revision|"
            r"does not exist in"
        ),
        NotFound,
        "the repository has no such commit or branch. Fetch it, or check the name",
    ),
    (
        r"invalid path",
        Refused,
        "it holds a path that Git does not write ('.git' and the like). Remove it from the branch",
    ),
    (
        r"unrelated histories",
        Refused,
        "the two have no common history. Branch from production",
    ),
    (
        r"fsck|malformed object|invalid object|index-pack failed.*error in object",
        Refused,
        "the host sent malformed objects. Run git fsck there",
    ),
    (r"No space left on device|Disk quota exceeded", Unavailable, "the disk is full. Free some space"),
    (r"File exists|Unable to create '[^']*\.lock'", Unavailable, "another process holds a lock. Try again"),
    (
        (
            r"Could not resolve|Connection (?:refused|reset|timed out)|Failed to connect|Couldn't connect|early EOF|"
            r"hung up|SSL_ERROR|gnutls_handshake|unexpected disconnect|RPC failed|"
            r"URL returned error: 5\d\d|timed out|unreachable|"
            r"Could not read from remote|Empty reply|Operation too slow"
        ),
        Unavailable,
        "the host did not answer. Try again later",
    ),
)


def first_reason(stderr: str) -> str:
    """Return the line of ``stderr`` that says most, without Git's prefixes; at most 200 characters."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    if not telling:
        return "Git gave no reason"
    return re.sub(r"^(?:fatal|error): ", "", telling[0])[:200].rstrip(".")


def failure(stderr: str, *, doing: str) -> Error:
    """Return the error for a Git command that failed; ``doing`` completes *Could not ...*.

    What nobody has seen yet counts as temporary: a retry is bounded and harmless, stopping for good is not.
    """
    for pattern, kind, sentence in _KINDS:
        if re.search(pattern, stderr, re.IGNORECASE):
            return kind(f"Could not {doing}: {sentence}.")
    return Unavailable(f"Could not {doing}: {first_reason(stderr)}. Try again; the log of Git's side may say more.")
