"""Whether the text of a comment was changed after it was written, where GitHub's REST API does not tell.

It tells nothing of a review's text, and a comment on a line changes when the review is submitted that it was drafted
for. GraphQL tells both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from github import GithubException

if TYPE_CHECKING:
    from github.Requester import Requester

QUERY = "query($id: ID!) { node(id: $id) { ... on Comment { lastEditedAt } } }"

_HIDDEN = frozenset({"NOT_FOUND", "FORBIDDEN", "INSUFFICIENT_SCOPES"})
"""What is said of a comment that is gone, or that the token may not see in this way."""


def was_edited(requester: Requester, node_id: str) -> bool:
    """Say whether somebody has changed a comment; of one that GraphQL does not show, that it may be so.

    Raises:
        GithubException: GitHub did not answer, or asks to wait.
    """
    try:
        _, answer = requester.graphql_query(QUERY, {"id": node_id})
    except GithubException as error:
        kinds = _kinds(error.data)
        if error.status == 404 or (kinds and kinds <= _HIDDEN):
            return True
        if error.status == 400 and kinds:
            # GraphQL says by 200 what REST has statuses for.
            status = 429 if "RATE_LIMITED" in kinds else 502
            raise GithubException(status, error.data, error.headers) from error
        raise
    node = answer["data"]["node"]
    return node is None or node["lastEditedAt"] is not None


def _kinds(data: Any) -> set[str]:
    listed = data.get("errors") if isinstance(data, dict) else None
    return {str(one.get("type", "")) for one in listed or () if isinstance(one, dict)}
