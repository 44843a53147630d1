"""Issues of Jira Cloud and Jira Data Center as a tracker.

A key is Jira's own. Statuses mean what the project file says, else what their category says.
"""

from __future__ import annotations

import hashlib
import math
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from feature_delivery.adapters.trackers import workflow
from feature_delivery.adapters.trackers.jira import comments
from feature_delivery.adapters.trackers.jira.answers import Created, IssueType, Project
from feature_delivery.adapters.trackers.jira.answers import Issue as IssueAnswer
from feature_delivery.adapters.trackers.jira.client import TIMEOUT_SECONDS, JiraClient, path
from feature_delivery.adapters.trackers.jira.deployments import LONGEST, Cloud, DataCenter, fitted
from feature_delivery.adapters.trackers.jira.examination import examine
from feature_delivery.adapters.trackers.jira.transitions import FIELDS, IssueWalker, meant
from feature_delivery.adapters.trackers.states import goals
from feature_delivery.adapters.trackers.texts import one_line, reported, reporter_in
from feature_delivery.domain.errors import Misconfigured, NotFound, Refused
from feature_delivery.domain.names import feature_key
from feature_delivery.ports.tracker import Issue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.trackers.jira.deployments import Deployment
    from feature_delivery.adapters.trackers.states import Status
    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.login import Login
    from feature_delivery.domain.names import FeatureKey
    from feature_delivery.domain.project import TrackerConfig
    from feature_delivery.ports.tracker import IssueState

LONGEST_TITLE = 255
USUAL_TYPES = ("story", "task", "feature", "new feature", "improvement")
ASSIGN, BROWSE, CREATE, LINK = "Assign issues", "Browse projects", "Create issues", "Link issues"


class JiraTracker:
    """``Tracker`` for the issues of one project."""

    def __init__(self, login: Login, *, config: TrackerConfig, timeout_seconds: int = TIMEOUT_SECONDS) -> None:
        """Get ready; nothing is sent yet.

        Args:
            login: As ``JiraClient`` says.
            config: ``project`` is Jira's key of the project; ``states`` are names of statuses.
            timeout_seconds: For each request.

        Raises:
            Misconfigured: Address, token or project is none.
        """
        self._project = config.project.upper()
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,19}", self._project):
            raise Misconfigured(
                f"{config.project[:80]!r} is no key of a project in Jira. Write it as 'tracker.project', like 'SHOP'."
            )
        self._client = JiraClient(login, timeout_seconds=timeout_seconds)
        self._config = config

    def find(self, key: FeatureKey) -> Issue | None:
        """Return the issue, or ``None`` when the project has none of that key.

        Raises:
            Refused: It was moved to another project, where it has another key.
        """
        if key.rpartition("-")[0] != self._project:
            return None
        try:
            found = self._read(key, doing=f"read {key}")
        except NotFound:
            return None
        if found.key != key:
            raise Refused(
                f"Could not read {key} in {self._client.shown}: it was moved and is {found.key} now. "
                "Deliver it under that key, or move it back."
            )
        return self._as_issue(found)

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:  # noqa: ARG002 - the port's
        """Find the issue.

        Raises:
            Refused: There is none: Jira gives out the keys itself.
        """
        found = self.find(key)
        if found is None:
            raise Refused(
                f"Could not create {key} in {self._client.shown}: Jira gives out the keys itself. "
                "Create the issue there and name its key."
            )
        return found

    def create_new(self, *, title: str, description: str, reporter: str) -> Issue:
        """Create an issue under the next key; where ``reporter`` cannot be put down as such, its text names them.

        Raises:
            Misconfigured: The project has no such type of issue.
        """
        doing = f"create an issue in {self._project}"
        fields: dict[str, Any] = {
            "project": {"key": self._project},
            "summary": one_line(title, limit=LONGEST_TITLE),
            "issuetype": {"name": self._type().name},
            "description": fitted(self._deployment, description),
        }
        made = self._reported_by(reporter, fields, doing)
        if made is None:
            told = reported(description, reporter, limit=LONGEST // 2)
            made = self._create({**fields, "description": fitted(self._deployment, told)}, doing)
        return self._as_issue(self._read(feature_key(made.key), doing=doing))

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """Write a comment once: the same ``marker`` again changes nothing.

        Raises:
            NotFound: There is no such issue.
        """
        self._check(key, doing=f"comment on {key}")
        with self._believed():
            comments.write(self._client, self._deployment, key, text, marker=marker)

    def link(self, key: FeatureKey, *, url: str, title: str, marker: str) -> None:
        """Show a link on the issue; the same ``marker`` again replaces it.

        Raises:
            NotFound: There is no such issue.
            Refused: We may not, or links between issues are switched off.
        """
        doing = f"link {key}"
        self._check(key, doing=doing)
        body = {
            "globalId": f"feature-delivery:{hashlib.sha256(marker.encode()).hexdigest()[:32]}",
            "application": {"type": "feature-delivery", "name": "Feature delivery"},
            "relationship": "delivery",
            "object": {"url": url, "title": one_line(title, limit=LONGEST_TITLE) or url},
        }
        with self._believed():
            self._client.tell("POST", path("issue", key, "remotelink"), body, doing=doing, right=LINK)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """Bring the issue to ``state`` through the team's own workflow; being there is done.

        Raises:
            NotFound: There is no such issue.
            Refused: The workflow has no way there for us, or asks for fields on it; names both.
        """
        doing = f"move {key} to {state}"
        self._check(key, doing=doing)
        issue = self._read(key, doing=doing)
        if meant(self._config, issue.fields.status).state is state:
            return
        walker = IssueWalker(self._client, self._config, key, doing=doing)
        wanted = goals(self._config, state, self._statuses(issue.fields.type, walker, doing=doing), doing=doing)
        workflow.walk(walker, wanted, doing=doing, site=self._client.shown)

    def assign(self, key: FeatureKey, person: str | None) -> Issue:
        """Give the issue to a person, or to nobody.

        Args:
            key: The issue.
            person: Cloud: an account id, an e-mail address or a whole name; Data Center: a user name.

        Raises:
            NotFound: There is no such issue, or no such person.
            Refused: The person may not be given issues, or we may not give them.
        """
        doing = f"give {key} to {person or 'nobody'}"
        self._check(key, doing=doing)
        issue = self._read(key, doing=doing)
        login = self._deployment.person(person, project=self._project, doing=doing) if person else None
        if (self._deployment.login(issue.fields.assignee) or None) != login:
            where = path("issue", key, "assignee")
            self._client.tell("PUT", where, self._deployment.named(login), doing=doing, right=ASSIGN)
            issue = self._read(key, doing=doing)
        return self._as_issue(issue)

    def changed_issues(self, since: datetime) -> tuple[Issue, ...]:
        """Return every issue changed since then, newest change first; complete, page by page.

        Searches know time to the minute, in the time zone of whoever asks: so they are asked how many minutes ago, and
        what is too old is left out here.
        """
        minutes = max(1, math.ceil((datetime.now(UTC) - since).total_seconds() / 60) + 1)
        jql = f'project = "{self._project}" AND updated >= "-{minutes}m" ORDER BY updated DESC, key DESC'
        # What is changed while we read moves to the front, and others to the next page: seen twice, never missed.
        found = {one.key: one for one in self._deployment.search(jql, FIELDS, doing="list the changed issues")}
        if not found:
            self._believe()
        changed = [(one.fields.updated or since, one) for one in found.values()]
        newest = sorted((one for one in changed if one[0] >= since), key=itemgetter(0), reverse=True)
        return tuple(self._as_issue(one) for _, one in newest)

    def examine(self) -> tuple[Finding, ...]:
        """Look whether token, rights and workflow are as deliveries need them; raises nothing."""
        return examine(self._client, self._config, self._project)

    @cached_property
    def _deployment(self) -> Deployment:
        return Cloud(self._client) if self._client.cloud else DataCenter(self._client)

    @contextmanager
    def _believed(self) -> Iterator[None]:
        """Let "not found" through only when it was told to us and not to a stranger: absence ends deliveries."""
        try:
            yield
        except NotFound:
            self._believe()
            raise

    def _believe(self) -> None:
        """See that we are who we think, and that the project itself is there.

        Raises:
            Misconfigured: It is not so.
        """
        self._client.me  # noqa: B018
        try:
            self._client.read(path("project", self._project), Project, doing="find the project", right=BROWSE)
        except NotFound as error:
            raise Misconfigured(
                f"{self._client.shown} has no project {self._project!r} that our user may see. Correct "
                "'tracker.project' in the project file, or give the user the right 'Browse projects' there."
            ) from error

    def _check(self, key: FeatureKey, *, doing: str) -> None:
        if key.rpartition("-")[0] != self._project:
            raise NotFound(
                f"Could not {doing} in {self._client.shown}: it is none of project {self._project}'s issues."
            )

    def _read(self, key: FeatureKey, *, doing: str) -> IssueAnswer:
        query = {"fields": FIELDS}
        with self._believed():
            return self._client.read(path("issue", key), IssueAnswer, doing=doing, query=query, right=BROWSE)

    def _statuses(self, type_: IssueType | None, walker: IssueWalker, *, doing: str) -> list[Status]:
        """Return the statuses of the workflow of a type of issue; where Jira does not tell, those seen from here."""
        where = path("project", self._project, "statuses")
        try:
            found = self._client.members(where, IssueType, doing=doing)
        except NotFound:
            found = []
        same = [one for one in found if type_ and one.name == type_.name]
        listed = {one.name: meant(self._config, one) for type_ in same or found for one in type_.statuses}
        if not listed:
            place = walker.look()
            listed = {one.name: one for one in (place.status, *(way.to for way in place.ways))}
        return list(listed.values())

    def _type(self) -> IssueType:
        doing = "find the types of issues"
        with self._believed():
            project = self._client.read(path("project", self._project), Project, doing=doing, right=BROWSE)
        types = [one for one in project.issue_types if not one.subtask]
        for name in (self._config.issue_type,) if self._config.issue_type else USUAL_TYPES:
            for one in types:
                if one.name.casefold() == name.casefold():
                    return one
        if types and not self._config.issue_type:
            return types[0]
        names = ", ".join(repr(one.name) for one in types) or "none"
        raise Misconfigured(
            f"The project {self._project} in {self._client.shown} has no type of issue {self._config.issue_type!r}. "
            f"It has {names}. Correct 'tracker.issue_type' in the project file."
        )

    def _reported_by(self, reporter: str, fields: dict[str, Any], doing: str) -> Created | None:
        """Create it in the reporter's name; ``None`` when Jira has no such person or does not let us."""
        if not reporter:
            return None
        try:
            person = self._deployment.person(reporter, project=self._project, doing=doing)
            return self._create({**fields, "reporter": self._deployment.named(person)}, doing)
        except (NotFound, Refused):
            # Nothing was created. Whatever else is wrong shows again without a reporter.
            return None

    def _create(self, fields: dict[str, Any], doing: str) -> Created:
        return self._client.send("POST", path("issue"), {"fields": fields}, Created, doing=doing, right=CREATE)

    def _as_issue(self, issue: IssueAnswer) -> Issue:
        fields, deployment = issue.fields, self._deployment
        text, reporter = deployment.text(fields.description), deployment.login(fields.reporter)
        if told := reporter_in(text):
            reporter, text = told if reporter == deployment.login(self._client.me) else (reporter, text)
        return Issue(
            key=feature_key(issue.key),
            title=fields.summary,
            description=text,
            state=meant(self._config, fields.status).state,
            assignee=deployment.login(fields.assignee) or None,
            reporter=reporter,
            url=f"{self._client.site}/browse/{issue.key}",
        )
