"""A Jira of ours over real HTTP: Cloud (API version 3, documents, account ids) or Data Center (2, texts, names).

Strict where Jira is: a comment that is no document, a transition that does not leave from where the issue is, fields
that are on no screen, JQL it does not know, and the search that Cloud has taken away. As loose as Jira, too: a wrong
token is a stranger, who gets "not found" and empty lists.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_delivery.adapters.trackers.workflow import refusals
from feature_delivery.domain.login import Login
from tests.fakes.hosts.common import Answer, Call, HostServer, Problem, Routes
from tests.fakes.hosts.jira_documents import is_document
from tests.fakes.hosts.jira_state import RIGHTS, Comment, Issue, State, Transition, User

JQL = re.compile(r'project = "([A-Z]+)" AND updated >= "-(\d+)m" ORDER BY updated DESC, key DESC')


def problem(status: int, *messages: str, **errors: str) -> Problem:
    return Problem(Answer(status, {"errorMessages": list(messages), "errors": errors}))


class FakeJira:
    """One server. ``silent``: a wrong token is not even told of in a header."""

    def __init__(self, server: HostServer, *, cloud: bool = True) -> None:
        self.server = server
        self.cloud = cloud
        self.state = State(cloud=cloud)
        self.silent = False
        self.keeps_properties = True
        self.page = 100
        self._routes = self._all_routes()
        server.host = self

    def login(self, user: str = "bot") -> Login:
        who = self.state.users[user]
        return Login("jira", url=self.server.url, user=who.email if self.cloud else "", secret=who.token)

    # --- what FakeHost asks for -------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        found = self._routes.find(call)
        if found is None:
            return Answer(404, b"<html>Oops, you've found a dead link.</html>", {"Content-Type": "text/html"})
        handler, parts = found
        answer = handler(call, **parts)
        if self._who(call) is None and "authorization" in call.headers and not self.silent:
            return Answer(answer.status, answer.body, {"X-Seraph-LoginReason": "AUTHENTICATED_FAILED"})
        return answer

    def git_user(self, username: str, password: str) -> str | None:
        return None

    def pushed(self, repository: Any, changes: Any, by: str) -> None:
        raise AssertionError("nobody pushes to Jira")

    # --- routes -----------------------------------------------------------------------------------------------------

    def _all_routes(self) -> Routes:
        routes, root = Routes(), f"/rest/api/{3 if self.cloud else 2}"
        table: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/myself", self._myself),
            ("GET", "/mypermissions", self._permissions),
            ("GET", "/project/{project}", self._project),
            ("GET", "/project/{project}/statuses", self._statuses),
            ("GET", "/resolution", self._resolutions),
            ("POST", "/issue", self._create),
            ("GET", "/issue/{key}", self._show),
            ("GET", "/issue/{key}/transitions", self._transitions),
            ("POST", "/issue/{key}/transitions", self._transition),
            ("GET", "/issue/{key}/comment", self._comments),
            ("POST", "/issue/{key}/comment", self._add_comment),
            ("PUT", "/issue/{key}/comment/{number}", self._change_comment),
            ("POST", "/issue/{key}/remotelink", self._link),
            ("PUT", "/issue/{key}/assignee", self._assign),
        ]
        if self.cloud:
            table += [
                ("GET", "/search/jql", self._search_by_token),
                (
                    "GET",
                    "/search",
                    lambda _: Answer(410, {"errorMessages": ["It has been removed."]}),
                ),
                ("POST", "/comment/list", self._comment_list),
                ("GET", "/user/assignable/search", self._assignable),
            ]
        else:
            table += [("GET", "/search", self._search_by_number), ("GET", "/user", self._user)]
        for method, pattern, handler in table:
            routes.add(method, root + pattern, handler)
        routes.add("GET", "/rest/api/2/serverInfo", self._server)
        return routes

    def _who(self, call: Call) -> User | None:
        scheme, _, value = call.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and not self.cloud:
            return next((one for one in self.state.users.values() if one.token == value), None)
        name, _, secret = base64.b64decode(value).decode().partition(":") if scheme == "Basic" else ("", "", "")
        known = [one for one in self.state.users.values() if name == (one.email if self.cloud else one.name)]
        return known[0] if known and known[0].token == secret else None

    def _may(self, call: Call, right: str) -> bool:
        return self._who(call) is not None and right in self.state.rights

    def _server(self, _call: Call) -> Answer:
        kind = "Cloud" if self.cloud else "DataCenter"
        return Answer(200, {"baseUrl": self.server.url, "version": "1001.0.0", "deploymentType": kind})

    def _myself(self, call: Call) -> Answer:
        who = self._who(call)
        if who is None:
            raise problem(401, "Client must be authenticated to access this resource.")
        return Answer(200, self.state.user(who))

    def _permissions(self, call: Call) -> Answer:
        asked = call.asked("permissions").split(",") if self.cloud else RIGHTS
        rights = {
            one: {
                "id": str(n),
                "key": one,
                "name": one.replace("_", " ").capitalize(),
                "havePermission": self._may(call, one),
            }
            for n, one in enumerate(asked)
        }
        return Answer(200, {"permissions": rights})

    def _check_project(self, call: Call, project: str) -> None:
        if project not in {"SHOP", "ELSE"} or not self._may(call, "BROWSE_PROJECTS"):
            raise problem(404, f"No project could be found with key '{project}'.")

    def _project(self, call: Call, project: str) -> Answer:
        self._check_project(call, project)
        types = [self.state.type(name) for name in self.state.types]
        return Answer(200, {"self": "", "id": "10000", "key": project, "name": "The shop", "issueTypes": types})

    def _statuses(self, call: Call, project: str) -> Answer:
        self._check_project(call, project)
        statuses = [self.state.status(name) for name in self.state.statuses]
        return Answer(200, [{"self": "", **self.state.type(name), "statuses": statuses} for name in self.state.types])

    def _resolutions(self, call: Call) -> Answer:
        return Answer(200, [{"self": "", "id": str(n), "name": name} for n, name in enumerate(self.state.resolutions)])

    def _issue(self, call: Call, key: str) -> Issue:
        issue = self.state.issues.get(key)
        if issue is None or not self._may(call, "BROWSE_PROJECTS"):
            raise problem(404, "Issue does not exist or you do not have permission to see it.")
        return issue

    def _show(self, call: Call, key: str) -> Answer:
        return Answer(200, self.state.shown(self._issue(call, key), call.asked("fields")))

    def _create(self, call: Call) -> Answer:
        who, fields = self._who(call), call.json()["fields"]
        if who is None or not self._may(call, "CREATE_ISSUES"):
            raise problem(400, project="You cannot create issues in this project.")
        if not fields.get("summary") or len(fields["summary"]) > 255 or "\n" in fields["summary"]:
            raise problem(400, summary="Summary must be one line of at most 255 characters.")
        self._check_body(fields.get("description"), "description")
        if fields["issuetype"]["name"] not in self.state.types:
            raise problem(400, issuetype="Specify a valid issue type")
        reporter = who
        if "reporter" in fields:
            if "MODIFY_REPORTER" not in self.state.rights:
                message = "Field 'reporter' cannot be set. It is not on the appropriate screen, or unknown."
                raise problem(400, reporter=message)
            reporter = self._named(fields["reporter"], "reporter") or who
        project = fields["project"]["key"]
        number = max((one.number for one in self.state.issues.values() if one.project == project), default=0) + 1
        issue = Issue(number, project, fields["summary"], fields.get("description"), reporter, "To Do")
        issue.type = fields["issuetype"]["name"]
        self.state.issues[issue.key] = issue
        self.state.tell("jira:issue_created", issue, who)
        return Answer(201, {"id": issue.id, "key": issue.key, "self": ""})

    def _check_body(self, body: Any, name: str) -> None:
        fine = body is None or (is_document(body) if self.cloud else isinstance(body, str))
        if not fine:
            raise problem(400, **{name: "Operation value must be an Atlassian Document (see the documentation)"})

    def _named(self, value: dict[str, Any], name: str) -> User | None:
        field = "accountId" if self.cloud else "name"
        if set(value) != {field}:
            raise problem(400, **{name: f"expected an object with '{field}'"})
        if value[field] is None:
            return None
        known = [one for one in self.state.users.values() if self.state.login_of(one) == value[field]]
        if not known or not known[0].assignable:
            raise problem(400, **{name: f"User '{value[field]}' cannot be assigned issues."})
        return known[0]

    # --- transitions ------------------------------------------------------------------------------------------------

    def _possible(self, call: Call, issue: Issue) -> list[Transition]:
        if not self._may(call, "TRANSITION_ISSUES"):
            return []
        return [
            one
            for one in self.state.transitions
            if (issue.status in one.begin if one.begin is not None else one.to != issue.status)
        ]

    def _transitions(self, call: Call, key: str) -> Answer:
        shown = []
        for one in self._possible(call, self._issue(call, key)):
            entry = {"id": one.id, "name": one.name, "to": self.state.status(one.to), "hasScreen": bool(one.screen)}
            if call.asked("expand") == "transitions.fields":
                entry["fields"] = {
                    name: {
                        "required": screen.required,
                        "hasDefaultValue": screen.has_default,
                        "name": screen.name,
                        "key": name,
                        "schema": {"type": "string", "system": name},
                        "operations": ["set"],
                        "allowedValues": [{"id": str(n), "name": value} for n, value in enumerate(screen.allowed)],
                    }
                    for name, screen in one.screen.items()
                }
            shown.append(entry)
        return Answer(200, {"expand": "transitions", "transitions": shown})

    def _transition(self, call: Call, key: str) -> Answer:
        issue, body = self._issue(call, key), call.json()
        wanted = str(body.get("transition", {}).get("id"))
        found = [one for one in self._possible(call, issue) if one.id == wanted]
        if not found:
            raise problem(400, "It seems that you have tried to perform an illegal workflow operation.")
        screen, fields = found[0].screen, body.get("fields", {})
        if unknown := [name for name in fields if name not in screen]:
            message = "Field cannot be set. It is not on the appropriate screen, or unknown."
            raise problem(400, **dict.fromkeys(unknown, message))
        for name, one in screen.items():
            value = fields.get(name, {}).get("name") or issue.values.get(name)
            if one.required and not one.has_default and not value:
                raise problem(400, **{name: f"{one.name} is required."})
            if value and one.allowed and name in fields and value not in one.allowed:
                raise problem(400, **{name: f"{one.name} has no such value."})
        done = self.state.statuses[found[0].to].category == "done"
        issue.status = found[0].to
        issue.steps.append(issue.status)
        issue.resolution = (fields.get("resolution", {}).get("name") or issue.resolution) if done else None
        who = self._who(call)
        assert who
        self.state.touch(issue, who)
        return Answer(204)

    # --- comments, links, people ------------------------------------------------------------------------------------

    def _comments(self, call: Call, key: str) -> Answer:
        found = self._issue(call, key).comments
        start, size = int(call.asked("startAt") or 0), min(self.page, int(call.asked("maxResults") or 50))
        shown = [self.state.shown_comment(one) for one in found[start : start + size]]
        return Answer(200, {"startAt": start, "maxResults": size, "total": len(found), "comments": shown})

    def _comment_list(self, call: Call) -> Answer:
        numbers = call.json()["ids"]
        found = [one for issue in self.state.issues.values() for one in issue.comments if one.id in numbers]
        with_properties = "properties" in call.asked("expand")
        shown = [self.state.shown_comment(one, properties=with_properties) for one in found]
        return Answer(200, {"startAt": 0, "maxResults": 1048576, "total": len(shown), "isLast": True, "values": shown})

    def _add_comment(self, call: Call, key: str) -> Answer:
        issue, who, asked = self._issue(call, key), self._who(call), call.json()
        if who is None or not self._may(call, "ADD_COMMENTS"):
            raise problem(400, comment="You do not have the permission to comment on this issue.")
        self._check_comment(asked)
        properties = asked.get("properties", []) if self.keeps_properties else []
        made = self.state.comment(issue, asked["body"], properties, who)
        return Answer(201, self.state.shown_comment(made))

    def _check_comment(self, asked: dict[str, Any]) -> None:
        body = asked.get("body")
        if not body or len(str(body)) > 200_000 or (not self.cloud and len(body) > 32_767):
            raise problem(400, comment="Comment body can not be empty, and not longer than 32,767 characters.")
        self._check_body(body, "comment")

    def _change_comment(self, call: Call, key: str, number: str) -> Answer:
        found: list[Comment] = [one for one in self._issue(call, key).comments if str(one.id) == number]
        if not found:
            raise problem(404, f"Can not find a comment for the id: {number}.")
        asked = call.json()
        self._check_comment(asked)
        found[0].body = asked["body"]
        return Answer(200, self.state.shown_comment(found[0]))

    def _link(self, call: Call, key: str) -> Answer:
        issue, asked = self._issue(call, key), call.json()
        if not self._may(call, "LINK_ISSUES"):
            raise problem(403, "No Link Issue Permission for issue.")
        shown, name = asked.get("object", {}), asked.get("globalId") or uuid.uuid4().hex
        if not shown.get("url") or not shown.get("title") or len(shown["title"]) > 255 or len(name) > 255:
            raise problem(400, title="'title' is required, and of at most 255 characters.")
        known = name in issue.links
        issue.links[name] = shown
        return Answer(200 if known else 201, {"id": 10_000 + list(issue.links).index(name), "self": ""})

    def _assign(self, call: Call, key: str) -> Answer:
        issue, who = self._issue(call, key), self._who(call)
        if who is None or not self._may(call, "ASSIGN_ISSUES"):
            raise problem(403, "You do not have permission to assign issues.")
        issue.assignee = self._named(call.json(), "assignee")
        self.state.touch(issue, who)
        return Answer(204)

    def _assignable(self, call: Call) -> Answer:
        self._check_project(call, call.asked("project"))
        account, query = call.asked("accountId"), call.asked("query").casefold()
        if bool(account) == bool(query):
            raise problem(400, "Provide exactly one of 'query' and 'accountId'.")
        found = [
            self.state.user(one)
            for one in self.state.users.values()
            if one.assignable
            and (one.account == account or (query and (one.shown.casefold().startswith(query) or one.email == query)))
        ]
        return Answer(200, found)

    def _user(self, call: Call) -> Answer:
        found = [one for one in self.state.users.values() if one.name == call.asked("username").casefold()]
        if not found or self._who(call) is None:
            raise problem(404, "The user named does not exist")
        return Answer(200, self.state.user(found[0]))

    # --- searches ---------------------------------------------------------------------------------------------------

    def _found(self, call: Call) -> list[Issue]:
        asked = JQL.fullmatch(call.asked("jql"))
        if asked is None:
            raise problem(400, "Error in the JQL Query.")
        if not self._may(call, "BROWSE_PROJECTS"):
            return []
        if asked[1] not in {"SHOP", "ELSE"}:
            raise problem(400, f"The value '{asked[1]}' does not exist for the field 'project'.")
        # Whole minutes, as Jira counts.
        since = (datetime.now(UTC) - timedelta(minutes=int(asked[2]))).replace(second=0, microsecond=0)
        found = [one for one in self.state.issues.values() if one.project == asked[1] and one.updated >= since]
        return sorted(found, key=lambda one: (one.updated, one.number), reverse=True)

    def _search_by_token(self, call: Call) -> Answer:
        token, size = call.asked("nextPageToken"), min(self.page, int(call.asked("maxResults") or 50))
        if token and token not in self.state.searches:
            raise problem(400, "The next page token is not valid.")
        found, start = self.state.searches[token] if token else (self._found(call), 0)
        fields = call.asked("fields") or "id"
        body: dict[str, Any] = {"issues": [self.state.shown(one, fields) for one in found[start : start + size]]}
        body["isLast"] = start + size >= len(found)
        if not body["isLast"]:
            body["nextPageToken"] = uuid.uuid4().hex
            self.state.searches[body["nextPageToken"]] = (found, start + size)
        return Answer(200, body)

    def _search_by_number(self, call: Call) -> Answer:
        found, start = self._found(call), int(call.asked("startAt") or 0)
        size = min(self.page, int(call.asked("maxResults") or 50))
        shown = [self.state.shown(one, call.asked("fields")) for one in found[start : start + size]]
        return Answer(200, {"startAt": start, "maxResults": size, "total": len(found), "issues": shown})


@contextmanager
def fake_jira(*, cloud: bool = True) -> Iterator[FakeJira]:
    """Start one on a free port, with its webhooks."""
    refusals.forget()  # of an earlier one at the same port
    server = HostServer()
    fake = FakeJira(server, cloud=cloud)
    with server.running(), fake.state.sender.running():
        yield fake
