"""Where in the API server a request goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def path_of(scope: Scope) -> str:
    """Return the path of a request below the address that the API server, or the app in it, is reached at.

    That address may have a path of its own (``[api] base_url``), which is in the scope's path or cut off by a proxy.
    """
    path, root = str(scope.get("path", "")), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path
