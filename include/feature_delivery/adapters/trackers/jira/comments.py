"""Our comments on an issue, each written once.

On Cloud a property of the comment carries its marker, which nobody sees; where Jira does not keep it, and on Data
Center, an unseen mark at the end of the text does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers.jira.answers import Comment, CommentList, Comments
from feature_delivery.adapters.trackers.jira.client import PAGE, path
from feature_delivery.adapters.trackers.jira.deployments import fitted
from feature_delivery.adapters.trackers.unseen import carries, unseen
from feature_delivery.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_delivery.adapters.trackers.jira.client import JiraClient
    from feature_delivery.adapters.trackers.jira.deployments import Deployment
    from feature_delivery.domain.names import FeatureKey

PROPERTY = "feature-delivery"
ADD = "Add comments"


def write(client: JiraClient, deployment: Deployment, key: FeatureKey, text: str, *, marker: str) -> None:
    """Write a comment, unless that of ``marker`` is there.

    Raises:
        NotFound: There is no such issue.
        Refused: We may not comment on it.
    """
    doing = f"comment on {key}"
    if _written(client, deployment, key, marker, doing):
        return
    where = path("issue", key, "comment")
    if not client.cloud:
        signed = {"body": fitted(deployment, text, mark=unseen(marker))}
        client.send("POST", where, signed, Comment, doing=doing, right=ADD)
        return
    property_ = {"key": PROPERTY, "value": {"marker": marker}}
    body = {"body": fitted(deployment, text), "properties": [property_]}
    made = client.send("POST", where, body, Comment, doing=doing, right=ADD)
    if not any(_is_marked(one, marker) for one in _with_properties(client, [made], doing)):
        # A Jira that does not keep the property would let us write it again and again.
        again = {"body": fitted(deployment, text, mark=unseen(marker))}
        client.tell("PUT", f"{where}{path(made.id)}", again, doing=doing, right=ADD)


def _written(client: JiraClient, deployment: Deployment, key: FeatureKey, marker: str, doing: str) -> bool:
    me = deployment.login(client.me)
    count = 0

    def ask(before: Comments | None, _number: int) -> Comments | None:
        nonlocal count
        if before is not None:
            count += len(before.comments)
            if not before.comments or count >= before.total:
                return None
        query = {"startAt": count, "maxResults": PAGE}
        return client.read(path("issue", key, "comment"), Comments, doing=doing, query=query)

    for page in client.walk(ask, doing=doing):
        ours = [one for one in page.comments if deployment.login(one.author) == me]
        if any(carries(deployment.text(one.body), marker) for one in ours):
            return True
        if client.cloud and any(_is_marked(one, marker) for one in _with_properties(client, ours, doing)):
            return True
    return False


def _with_properties(client: JiraClient, comments: Sequence[Comment], doing: str) -> Sequence[Comment]:
    """Return the comments with what a listing leaves out."""
    lacking = [int(one.id) for one in comments if one.properties is None and one.id.isdigit()]
    if not lacking:
        return comments
    where, query = path("comment", "list"), {"expand": "properties"}
    try:
        return client.send("POST", where, {"ids": lacking}, CommentList, doing=doing, query=query).values
    except (NotFound, Refused):
        return ()


def _is_marked(comment: Comment, marker: str) -> bool:
    return any(
        one.key == PROPERTY and isinstance(one.value, dict) and one.value.get("marker") == marker
        for one in comment.properties or ()
    )
