"""Issues of Redmine as a tracker.

A key is the project's prefix and the issue's number. What is closed there is done, the status that new issues have is
open, everything between is in progress; the project file may name the statuses. What Redmine leaves out in silence (a
status that the workflow does not allow, notes and assignees without the permission) is read back and refused aloud.
"""

from __future__ import annotations

from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING

from feature_delivery.adapters.trackers import workflow
from feature_delivery.adapters.trackers.redmine import notes
from feature_delivery.adapters.trackers.redmine.answers import Issue as IssueAnswer
from feature_delivery.adapters.trackers.redmine.answers import IssueBox, Issues, Statuses, Trackers
from feature_delivery.adapters.trackers.redmine.client import TIMEOUT, RedmineClient, path
from feature_delivery.adapters.trackers.redmine.examination import examine
from feature_delivery.adapters.trackers.redmine.people import People
from feature_delivery.adapters.trackers.redmine.walker import IssueWalker
from feature_delivery.adapters.trackers.states import goals, meaning
from feature_delivery.adapters.trackers.texts import one_line, reported, reporter_in
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.names import feature_key
from feature_delivery.ports.tracker import Issue, IssueState

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from feature_delivery.adapters.trackers.redmine.answers import Status, Tracker
    from feature_delivery.adapters.trackers.states import Status as Meant
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig

LONGEST_SUBJECT = 255
LONGEST_TEXT = 60_000
EDIT, VIEW, ADD = "Edit issues", "View issues", "Add issues"


class RedmineTracker:
    """``Tracker`` for the issues of one project; those of its subprojects are none of them."""

    def __init__(self, login: Login, *, config: TrackerConfig, timeout: httpx.Timeout = TIMEOUT) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: ``url`` is Redmine's address, ``secret`` an API key.
            config: ``project`` is the project's identifier; ``prefix`` stands before the number in keys; ``states``
                are names of statuses; ``issue_type`` is what Redmine calls a tracker.
            timeout: For each request.

        Raises:
            Misconfigured: Address, key or prefix is none.
        """
        if not config.prefix:
            raise Misconfigured(
                "Issues of redmine have plain numbers. Say as 'tracker.prefix' what stands before them."
            )
        self._client = RedmineClient(login, config.project, timeout=timeout)
        self._people = People(self._client)
        self._config = config

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when the project has none with that number."""
        found = self._found(key)
        return self._as_issue(found) if found else None

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002 - the port's
        """Find the issue.

        Raises:
            Refused: There is none: Redmine gives out the numbers itself.
        """
        found = self.find(key)
        if found is None:
            raise Refused(
                f"Could not create {key} in {self._client.shown}: Redmine gives out the numbers itself. "
                "Create the issue there and name its key."
            )
        return found

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue under the next number. Its author is the key's user; its text names ``reporter``."""
        body: dict[str, object] = {
            "project_id": self._client.project.id,
            "subject": one_line(title, limit=LONGEST_SUBJECT),
            "description": reported(description, reporter, limit=LONGEST_TEXT),
        }
        if self._config.issue_type:
            body["tracker_id"] = self._type(self._config.issue_type).id
        made = self._client.make(path("issues"), {"issue": body}, IssueBox, doing="create an issue", right=ADD)
        return self._as_issue(made.issue)

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a note once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """
        notes.write(self._client, self._there(key, "journals"), text, marker=marker, what=key, replace=False)

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link as a note; the same ``marker`` again replaces it where we may edit our notes.

        Raises:
            NotFound: There is no such issue.
        """
        issue = self._there(key, "journals")
        notes.write(self._client, issue, f"{title}: {url}", marker=f"link:{marker}", what=key, replace=True)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state`` through the workflow that our role has; being there is done.

        Raises:
            NotFound: There is no such issue.
            Refused: The workflow has no way there for us; names the status and our role.
        """
        issue = self._there(key)
        if self._meaning(issue.status, issue).state is state:
            return
        doing = f"move {key} to {state}"
        statuses = [self._meaning(status, issue) for status in self._statuses]
        wanted = goals(self._config, state, statuses, doing=doing)
        workflow.walk(IssueWalker(self, key, wanted, doing=doing), wanted, doing=doing, site=self._client.shown)

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to the member with the login ``person``, or to nobody.

        Raises:
            NotFound: There is no such issue, or no such member.
            Refused: The person's role may not be given issues, or ours may not give them.
        """
        issue = self._there(key)
        doing = f"give {key} to {person or 'nobody'}"
        number = self._people.number(person, doing=doing) if person else None
        if number != (issue.assigned_to.id if issue.assigned_to else None):
            body = {"issue": {"assigned_to_id": number or ""}}
            self._client.change(path("issues", issue.id), body, doing=doing, right=EDIT)
            issue = self._there(key)
            if number != (issue.assigned_to.id if issue.assigned_to else None):
                raise Refused(
                    f"Could not {doing} in {self._client.shown}: Redmine left it as it was, without a word. Let the "
                    f"role {self.role!r} edit issues and their assignee in the status {issue.status.name!r}."
                )
        return self._as_issue(issue)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first; complete, page by page.

        Redmine knows time to the second: what was changed within that of ``since`` is there.
        """
        query: dict[str, str | int] = {
            "project_id": self._client.project.id,
            "subproject_id": "!*",
            "status_id": "*",
            "updated_on": f">={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "sort": "updated_on:desc,id:desc",
        }
        pages = self._client.pages(
            path("issues"),
            Issues,
            lambda page: (len(page.issues), page.total_count),
            doing="list the changed issues",
            query=query,
            right=VIEW,
        )
        # What is changed while we read moves to the front, and others to the next page: seen twice, never missed.
        found = {issue.id: issue for page in pages for issue in page.issues}
        newest = sorted(found.values(), key=lambda one: (one.updated_on, one.id), reverse=True)
        return tuple(self._as_issue(issue) for issue in newest)

    def examine(self) -> tuple[Finding, ...]:
        """Look whether key, rights and statuses are as deliveries need them; raises nothing."""
        return examine(self._client, self._config)

    @property
    def role(self) -> str:
        """What our user is in the project, for sentences."""
        names = [
            role.name for one in self._client.me.memberships if self._is_ours(one.project.id) for role in one.roles
        ]
        return ", ".join(dict.fromkeys(names)) or ("Administrator" if self._client.me.admin else "Non member")

    def place(self, key: FeatureKey, wanted: tuple[Meant, ...]) -> tuple[IssueAnswer, workflow.Place]:
        """Return an issue, and where we may move it from where it is."""
        issue = self._there(key, "allowed_statuses")
        allowed = issue.allowed_statuses
        if allowed is None:
            # Before Redmine 5.0: what is allowed shows when it is tried.
            allowed = [status for status in self._statuses if any(goal.called(status.name) for goal in wanted)]
        ways = tuple(
            workflow.Way(id=str(status.id), name=status.name, to=self._meaning(status, issue))
            for status in allowed
            if status.id != issue.status.id
        )
        return issue, workflow.Place(self._meaning(issue.status, issue), ways)

    def set_status(self, issue: IssueAnswer, way: workflow.Way, *, doing: str) -> None:
        """Set a status; Redmine answers 204 to one that it does not allow, too."""
        body = {"issue": {"status_id": int(way.id)}}
        self._client.change(path("issues", issue.id), body, doing=doing, right=EDIT)

    def left_as_it_was(self, issue: IssueAnswer, way: workflow.Way, *, doing: str) -> Refused:
        """Return the error for a status that was not set, in silence."""
        return Refused(
            f"Could not {doing} in {self._client.shown}: Redmine left it in {issue.status.name!r}, without a word. "
            f"Allow the role {self.role!r} to go from there to {way.name!r} in the workflow of {issue.tracker.name!r}."
        )

    def _is_ours(self, project: int) -> bool:
        return project == self._client.project.id

    def _number(self, key: FeatureKey) -> int | None:
        prefix, _, number = key.rpartition("-")
        return int(number) if prefix == self._config.prefix and number.isascii() and number.isdigit() else None

    def _found(self, key: FeatureKey, include: str = "") -> IssueAnswer | None:
        number = self._number(key)
        if number is None:
            return None
        query = {"include": include} if include else None
        try:
            issue = self._client.read(
                path("issues", number), IssueBox, doing=f"read {key}", query=query, right=VIEW
            ).issue
        except NotFound:
            # Also when the project is not there at all, which is no news of an issue.
            self._client.project  # noqa: B018
            return None
        return issue if self._is_ours(issue.project.id) else None

    def _there(self, key: FeatureKey, include: str = "") -> IssueAnswer:
        found = self._found(key, include)
        if found is None:
            project = self._client.project.identifier
            raise NotFound(f"There is no issue {key} in {project!r} in {self._client.shown}. Correct the key.")
        return found

    @cached_property
    def _statuses(self) -> tuple[Status, ...]:
        return tuple(self._client.read(path("issue_statuses"), Statuses, doing="list the statuses").issue_statuses)

    @cached_property
    def _types(self) -> tuple[Tracker, ...]:
        return tuple(self._client.read(path("trackers"), Trackers, doing="list the types of issues").trackers)

    def _type(self, name: str) -> Tracker:
        found = [one for one in self._types if one.name.casefold() == name.casefold()]
        if not found:
            names = ", ".join(repr(one.name) for one in self._types)
            raise Misconfigured(
                f"{self._client.shown} has no tracker {name!r}. It has {names}. "
                "Correct 'tracker.issue_type' in the project file."
            )
        return found[0]

    def _meaning(self, status: Status, issue: IssueAnswer) -> Meant:
        closed = status.is_closed
        if closed is None:
            closed = any(one.id == status.id and one.is_closed for one in self._statuses)
        if closed:
            return meaning(self._config, status.name, IssueState.DONE)
        begins = {one.default_status.id for one in self._types if one.id == issue.tracker.id and one.default_status}
        return meaning(self._config, status.name, IssueState.OPEN if status.id in begins else IssueState.IN_PROGRESS)

    def _as_issue(self, issue: IssueAnswer) -> Issue:
        reporter, text = self._people.login(issue.author), issue.description
        if issue.author and issue.author.id == self._client.me.id:
            reporter, text = reporter_in(text) or (reporter, text)
        return Issue(
            key=feature_key(self._config.key_of(str(issue.id))),
            title=issue.subject,
            description=text,
            state=self._meaning(issue.status, issue).state,
            assignee=self._people.login(issue.assigned_to) or None,
            reporter=reporter,
            url=f"{self._client.url}/issues/{issue.id}",
        )
