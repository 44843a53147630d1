"""Small things that templates ask for: links that are safe to follow, names shortened, places on a Git host."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from feature_delivery.domain.process import Step, row_of
from feature_delivery.domain.project import HostConfig
from feature_delivery.services.control.scene import DEVELOPMENT_STEPS, PREPROD_STEPS


def safe_url(url: str) -> str:
    """Return ``url`` when a browser opens it as a page of the web; empty for everything else (``javascript:`` …)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in {"http", "https"} and parts.netloc else ""


def host_name(url: str) -> str:
    """Return the host and port of an address, for people."""
    return urlsplit(url).netloc


def short(commit: str | None) -> str:
    """Return a commit as people write it."""
    return (commit or "")[:10]


def row_title(step: Step | str) -> str:
    """Return the title of a step's row in the process."""
    return row_of(Step(step)).title


def task_place(step: Step | str) -> str:
    """Return the kind of environment that a step is about."""
    if step in DEVELOPMENT_STEPS:
        return "development"
    return "preprod" if step in PREPROD_STEPS else "production"


@dataclass(frozen=True, slots=True)
class HostPages:
    """Pages of a project's repository on its Git host, known from the address of a merge request."""

    commit_at: str
    compare_at: str
    changes_at: str

    def commit(self, sha: str | None) -> str:
        """Return the page of a commit; empty where there is none."""
        return f"{self.commit_at}{quote(sha, safe='')}" if sha and self.commit_at else ""

    def compare(self, old: str | None, new: str | None) -> str:
        """Return the page with what changed between two commits; empty where there is none."""
        if not (old and new and self.compare_at):
            return ""
        return f"{self.compare_at}{quote(old, safe='')}...{quote(new, safe='')}"


_SHAPES = {
    # The address of a request, then what follows the repository's for a commit, a comparison, the request's changes.
    "github": (re.compile(r"(.+)/pull/\d+\Z"), "/commit/", "/compare/", "/files"),
    "gitlab": (re.compile(r"(.+)/-/merge_requests/\d+\Z"), "/-/commit/", "/-/compare/", "/diffs"),
    "gitea": (re.compile(r"(.+)/pulls/\d+\Z"), "/commit/", "/compare/", "/files"),
}


def host_pages(host: HostConfig, request_url: str) -> HostPages:
    """Return the pages of the repository that a request is in; all empty where its address is not what we know."""
    shape = _SHAPES.get(host.kind)
    found = shape[0].match(safe_url(request_url)) if shape else None
    if shape is None or found is None:
        return HostPages("", "", "")
    return HostPages(f"{found[1]}{shape[1]}", f"{found[1]}{shape[2]}", f"{request_url}{shape[3]}")
