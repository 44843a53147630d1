"""``GitLabTracker``: the issues of one project on GitLab. Issue 42 is ``SHOP-42``.

GitLab knows open and closed only. Whether somebody works on an open issue is told by a label, whose name a project may
choose (``tracker.states``). Scoped labels (``status::doing``) will do, too: with its larger editions GitLab itself
takes the old one away.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.git_hosts.gitlab import notes
from feature_delivery.adapters.git_hosts.gitlab.access import entry
from feature_delivery.adapters.git_hosts.gitlab.answers import IssueAnswer, Project
from feature_delivery.adapters.git_hosts.gitlab.client import Client
from feature_delivery.adapters.git_hosts.gitlab.examination import (
    ISSUE_EVENTS,
    REPORTER,
    access_level,
    look_at_project,
    look_at_role,
    look_at_webhook,
)
from feature_delivery.adapters.git_hosts.gitlab.limits import TEXT, TITLE, harmless, shortened
from feature_delivery.adapters.git_hosts.gitlab.opening import label_list, user_named
from feature_delivery.adapters.git_hosts.gitlab.requests import GHOST
from feature_delivery.adapters.markers import hidden
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.names import feature_key
from feature_delivery.ports.tracker import Issue, IssueState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig

READ, WRITE = "the role Reporter", "the role Reporter"
IN_PROGRESS = "in progress"
"""The label of an issue that somebody works on, where the project names none."""

_ASKED = hidden("requested-by")
"""Below it stands who asked for an issue that we created: seen on its page, no part of the description."""


class GitLabTracker:
    """Implements ``Tracker``. Nothing is kept between calls but whose the token is."""

    def __init__(self, login: Login, *, config: TrackerConfig) -> None:
        """Check the Connection; ask nobody.

        Raises:
            Misconfigured: The Connection lacks something, the project is none, or no prefix is given.
        """
        if not config.prefix:
            raise Misconfigured("Issues of GitLab have plain numbers. Say as 'tracker.prefix' what stands before them.")
        self._client = Client(entry(login, config.project))
        self._config = config
        words = {IssueState.IN_PROGRESS.value: (IN_PROGRESS,), **{k: v for k, v in config.states.items() if v}}
        self._labels = {state: words.get(state.value, ()) for state in IssueState}

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when GitLab shows us all issues of the project and no such one.

        Raises:
            NotFound: There is no such project, or the token may not see it.
            Refused: Issues are switched off, or there may be confidential ones that we are not shown.
        """
        found = self._find(key, f"look for issue {key}")
        return self._as_issue(found) if found is not None else None

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002
        """Find the issue: GitLab counts its issues itself.

        Raises:
            Refused: There is no such issue.
        """
        found = self.find(key)
        if found is None:
            raise Refused(
                f"Could not create {key}: GitLab numbers its issues itself, and {self._client.entry.project} has no "
                "such issue. Create one there, or let us create one without naming a key."
            )
        return found

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue; it says below the description who asked for it, for its author is the token's account.

        Raises:
            Refused: Issues are switched off, or the right is missing.
        """
        who = " ".join(re.sub(r"[^\w.@ -]", "", reporter)[:80].split())
        asked = f"\n\n{_ASKED} Requested by {who}." if who else ""
        text = harmless(shortened(description, TEXT)) + asked
        given = {"title": shortened(title, TITLE), "description": text}
        with self._client.doing(f"create an issue in {self._client.entry.project}", right=WRITE):
            return self._as_issue(self._client.post(self._client.project("issues"), IssueAnswer, **given))

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """
        self._write(key, text, marker=marker, replace=False)

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link as a comment; the same ``marker`` again replaces it.

        Raises:
            NotFound: There is no such issue.
        """
        self._write(key, f"{title}: {url}", marker=f"link:{marker}", replace=True)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Open or close the issue and set the label of ``state``, taking away those of other states.

        Raises:
            NotFound: There is no such issue.
            Refused: The right is missing. GitLab itself may answer as if it had done it.
        """
        doing = f"move {key} to {state.value!r}"
        issue = self._known(key, doing)
        changes = self._changes(issue, state)
        if changes:
            issue = self._put(issue, changes, doing=doing)
        if self._changes(issue, state):
            raise Refused(
                f"Could not {doing} on GitLab: it left out {' and '.join(sorted(changes)).replace('_', ' ')} without a "
                f"word, as it does when the account of {self._client.entry.connection!r} lacks {WRITE}. Give it to it."
            )

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to ``person`` alone, or to nobody.

        Raises:
            NotFound: There is no such issue, or GitLab lets it be given to no such login.
        """
        doing = f"assign {key} to {person!r}" if person else f"take {key} from whoever has it"
        issue = self._known(key, doing)
        wanted = [person.lower()] if person else []
        if _assignees(issue) == wanted:
            return self._as_issue(issue)
        ids = [0]  # nobody
        if person:
            with self._client.doing(doing, right=WRITE):
                user = user_named(self._client, person)
            if user is None:
                raise NotFound(f"Could not {doing}: GitLab knows nobody of that login. Correct the login.")
            ids = [user.id]
        issue = self._put(issue, {"assignee_ids": ids}, doing=doing)
        if _assignees(issue) == wanted:
            return self._as_issue(issue)
        if not person:
            raise Refused(
                f"Could not {doing} on GitLab: it left that out without a word, as it does when the account of "
                f"{self._client.entry.connection!r} lacks {WRITE}. Give it to it."
            )
        raise NotFound(
            f"Could not {doing}: GitLab lets nobody of that login be given issues of {self._client.entry.project}, or "
            f"the account of {self._client.entry.connection!r} lacks {WRITE}. Give them access, and us the role."
        )

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first."""
        earliest = since.astimezone(UTC)
        earliest = earliest.replace(microsecond=earliest.microsecond // 1000 * 1000)
        found: dict[int, IssueAnswer] = {}
        with self._client.doing("list the changed issues", right=READ):
            for one in self._client.walk(
                self._client.project("issues"),
                IssueAnswer,
                scope="all",
                state="all",
                order_by="updated_at",
                sort="desc",
                updated_after=earliest.isoformat(timespec="milliseconds"),
            ):
                if one.updated_at >= earliest:
                    found.setdefault(one.iid, one)  # once, although pages may overlap
            return tuple(self._as_issue(one) for one in found.values())

    def examine(self) -> tuple[Finding, ...]:
        """Look at token, project, role and webhook; raises nothing."""
        return tuple(self._examine())

    def _examine(self) -> Iterator[Finding]:
        findings, project = look_at_project(self._client)
        yield from findings
        if project is None:
            return
        if project.issues_access_level == "disabled":
            sentence = f"{project.path_with_namespace} has its issues switched off. Switch them on in its settings."
            yield Finding("issues", well=False, sentence=sentence)
        yield look_at_role(self._client, REPORTER)
        yield look_at_webhook(self._client, ISSUE_EVENTS)

    def _number(self, key: FeatureKey) -> int | None:
        match = re.fullmatch(rf"{re.escape(self._config.prefix)}-([1-9][0-9]*)", key)
        return int(match[1]) if match else None

    def _find(self, key: FeatureKey, doing: str) -> IssueAnswer | None:
        number = self._number(key)
        if number is None:
            return None  # another prefix: nothing that could be here
        with self._client.doing(doing, right=READ):
            found = self._client.find(self._client.project("issues", number), IssueAnswer)
            if found is None:
                self._believe_absence(key, doing)
            return found

    def _believe_absence(self, key: FeatureKey, doing: str) -> None:
        """Make sure that *not found* means that there is none. Inside ``doing``.

        GitLab says 404 also where issues are switched off, to a token that may not see the project, and of confidential
        issues to whoever is less than a reporter.
        """
        project = self._client.get(self._client.project(), Project)
        if project.issues_access_level == "disabled":
            raise Refused(f"Could not {doing} on GitLab: {self._client.entry.project} has its issues switched off.")
        if access_level(self._client) < REPORTER:
            raise Refused(
                f"Could not {doing} on GitLab: there is none that we are shown, but {key} may be confidential. "
                f"Give the account of {self._client.entry.connection!r} {READ}."
            )

    def _known(self, key: FeatureKey, doing: str) -> IssueAnswer:
        found = self._find(key, doing)
        if found is None:
            raise NotFound(
                f"Could not {doing}: {self._client.entry.project} on GitLab has no issue {key}. Correct the key."
            )
        return found

    def _put(self, issue: IssueAnswer, changes: dict[str, Any], *, doing: str) -> IssueAnswer:
        with self._client.doing(doing, right=WRITE):
            return self._client.put(self._client.project("issues", issue.iid), IssueAnswer, **changes)

    def _write(self, key: FeatureKey, text: str, *, marker: str, replace: bool) -> None:
        doing = f"comment on {key}"
        issue = self._known(key, doing)
        with self._client.doing(doing, right=WRITE):
            where = self._client.project("issues", issue.iid, "notes")
            notes.write(self._client, where, text, marker=marker, replace=replace)

    def _changes(self, issue: IssueAnswer, state: IssueState) -> dict[str, Any]:
        """Return what to change so that the issue is in ``state``; nothing when it is."""
        changes: dict[str, Any] = {}
        closed = state is IssueState.DONE
        if (issue.state == "closed") != closed:
            changes["state_event"] = "close" if closed else "reopen"
        wanted = self._labels[state]
        recognised = {name.lower() for name in wanted}
        others = {name.lower() for words in self._labels.values() for name in words} - recognised
        if wanted and not any(name.lower() in recognised for name in issue.labels):
            changes["add_labels"] = label_list(wanted[:1])
        if gone := [name for name in issue.labels if name.lower() in others]:
            changes["remove_labels"] = label_list(gone)
        return changes

    def _state(self, issue: IssueAnswer) -> IssueState:
        if issue.state == "closed":
            return IssueState.DONE
        working = {name.lower() for name in self._labels[IssueState.IN_PROGRESS]}
        return IssueState.IN_PROGRESS if any(one.lower() in working for one in issue.labels) else IssueState.OPEN

    def _as_issue(self, issue: IssueAnswer) -> Issue:
        return Issue(
            key=feature_key(self._config.key_of(str(issue.iid))),
            title=issue.title,
            description=_description(issue.description),
            state=self._state(issue),
            assignee=issue.assignees[0].username if issue.assignees else None,
            reporter=issue.author.username if issue.author else GHOST,
            url=issue.web_url,
        )


def _assignees(issue: IssueAnswer) -> list[str]:
    return [one.username.lower() for one in issue.assignees]


def _description(text: str) -> str:
    before, marker, _ = text.partition(_ASKED)
    return before.rstrip() if marker else text
