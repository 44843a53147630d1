"""Facts from outside: what Git, the shop and the tracker say, whatever the ledger thinks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from feature_delivery.domain.errors import Error
from feature_delivery.ports.platform import EnvironmentStatus

GIT_TIMEOUT_SECONDS = 30


class NotAsExpectedError(Error):
    """A scenario did not go as it must."""


def must(holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads like the sentence
    """Stop the scenario unless ``holds``.

    Raises:
        NotAsExpectedError: It does not hold.
    """
    if not holds:
        raise NotAsExpectedError(f"This should be so and is not: {sentence}")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that must be so at the end."""

    what: str
    expected: object
    found: object

    @property
    def met(self) -> bool:
        """Say whether it is so."""
        return self.expected == self.found


class Facts:
    """Looks at the world as an outsider does."""

    def __init__(
        self,
        *,
        get: Callable[[str], Any],
        repository: Path,
        production_branch: str,
        environments: Callable[[], tuple[EnvironmentStatus, ...]],
        key_prefix: str,
        first_number: int,
    ) -> None:
        """``get``: the project's API; ``environments``: what the platform itself lists."""
        self._get = get
        self._repository = repository
        self._branch = production_branch
        self._environments = environments
        self._prefix, self._number = key_prefix, first_number

    def next_key(self, offset: int = 0) -> str:
        """Return an issue key that nobody has used in this home."""
        return f"{self._prefix}-{self._number + offset}"

    def project(self) -> dict[str, Any]:
        """Return lock, queue and freeze of the project."""
        found = self._get("")
        assert isinstance(found, dict)
        return found

    def issue(self, key: str) -> dict[str, Any]:
        """Return the issue."""
        found = self._get(f"/issues/{key}")
        assert isinstance(found, dict)
        return found

    def comments(self, key: str) -> list[str]:
        """Return the comments on the issue."""
        return [str(comment["text"]) for comment in self.issue(key)["comments"]]

    def branches(self) -> set[str]:
        """Return the branches on the host."""
        return set(self._git("for-each-ref", "--format=%(refname:short)", "refs/heads").split())

    def production_commit(self) -> str:
        """Return where production's branch is."""
        return self._git("rev-parse", f"refs/heads/{self._branch}")

    def tree(self, commit: str) -> str:
        """Return the tree of a commit."""
        return self._git("rev-parse", f"{commit}^{{tree}}")

    def files(self, commit: str) -> set[str]:
        """Return the files of a commit."""
        return set(self._git("ls-tree", "-r", "--name-only", commit).splitlines())

    def production_address(self) -> str:
        """Return where the shop answers in production."""
        return next(one.address for one in self._environments() if one.ref.kind == "production")

    def health(self) -> str:
        """Return what production's health address answers."""
        try:
            return str(httpx.get(f"{self.production_address()}/healthz", timeout=10, trust_env=False).status_code)
        except httpx.HTTPError as error:
            return type(error).__name__

    def environments(self, key: str) -> list[str]:
        """Return the kinds of environments on the platform: production, and those of the feature."""
        kinds = [one.ref.kind.value for one in self._environments() if one.ref.key in {None, key}]
        return sorted(kinds, key=["production", "preprod", "development"].index)

    def outcome(self, found: dict[str, Any]) -> str:
        """Return what has come of a feature: its state, or what its newest attempt has come to."""
        if found["state"] != "active":
            return str(found["state"])
        return str(found["attempts"][-1]["state"]) if found["attempts"] else "active"

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", "--git-dir", str(self._repository), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=True,
        )
        return done.stdout.strip()
