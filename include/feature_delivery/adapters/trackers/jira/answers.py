"""The parts of Jira's answers that we read, checked; whatever else is in them is left alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Server(Answer):
    """``GET /serverInfo``. ``deployment``: ``Cloud``, ``Server`` or ``DataCenter``."""

    base: Text = Field(default="", alias="baseUrl")
    version: Text = ""
    deployment: Text = Field(default="", alias="deploymentType")


class User(Answer):
    """A person: Cloud has ``account`` and mostly hides ``email``, Data Center has ``name``."""

    account: Text = Field(default="", alias="accountId")
    name: Text = ""
    shown: Text = Field(default="", alias="displayName")
    email: Text = Field(default="", alias="emailAddress")


class Category(Answer):
    """What kind of status: ``new``, ``indeterminate``, ``done``, ``undefined``."""

    key: str = "undefined"


class Status(Answer):
    """A status of issues."""

    name: str
    category: Category = Field(default=Category(), alias="statusCategory")


class Named(Answer):
    """Something with a name, and mostly an id."""

    id: Text = ""
    name: Text = ""


class Project(Answer):
    """A project with its types of issues."""

    key: str
    name: Text = ""
    issue_types: list[IssueType] = Field(default=[], alias="issueTypes")


class IssueType(Answer):
    """A type of issue; with its statuses where they are listed by type."""

    id: Text = ""
    name: str
    subtask: bool = False
    statuses: list[Status] = []


class Fields(Answer):
    """The fields of an issue that we ask for. ``description``: a document on Cloud, a text elsewhere."""

    summary: Text = ""
    description: Any = None
    status: Status
    type: IssueType | None = Field(default=None, alias="issuetype")
    assignee: User | None = None
    reporter: User | None = None
    updated: datetime | None = None


class Issue(Answer):
    """An issue."""

    key: str
    fields: Fields


class Values(Answer):
    """An issue's fields as they are, to see which are filled in."""

    fields: dict[str, Any]


class Created(Answer):
    """A new issue's key."""

    key: str


class TokenPage(Answer):
    """A page of a search on Cloud."""

    issues: list[Issue] = []
    next_token: str | None = Field(default=None, alias="nextPageToken")
    last: bool | None = Field(default=None, alias="isLast")


class NumberedPage(Answer):
    """A page of a search on Data Center."""

    issues: list[Issue] = []
    total: int = 0


class Field_(Answer):  # noqa: N801 - pydantic has the plain name
    """A field on the screen of a transition."""

    name: Text = ""
    required: bool = False
    has_default: bool = Field(default=False, alias="hasDefaultValue")
    allowed: list[Named] = Field(default=[], alias="allowedValues")


class Transition(Answer):
    """A way on from where an issue is."""

    id: str
    name: Text = ""
    to: Status
    fields: dict[str, Field_] = {}


class Transitions(Answer):
    """``GET /issue/SHOP-1/transitions``."""

    transitions: list[Transition]


class Property(Answer):
    """A property of a comment."""

    key: str
    value: Any = None


class Comment(Answer):
    """A comment. ``properties``: ``None`` when they were not told."""

    id: str
    author: User | None = None
    body: Any = None
    properties: list[Property] | None = None


class Comments(Answer):
    """A page of an issue's comments."""

    comments: list[Comment]
    total: int = 0


class CommentList(Answer):
    """Comments asked for by their numbers."""

    values: list[Comment] = []


class Permission(Answer):
    """Whether we have a permission."""

    have: bool = Field(default=False, alias="havePermission")
    name: Text = ""


class Permissions(Answer):
    """``GET /mypermissions``."""

    permissions: dict[str, Permission]


class Problems(Answer):
    """An error: sentences, and sentences by field."""

    messages: list[Any] = Field(default=[], alias="errorMessages")
    errors: dict[str, Any] = {}

    @property
    def reasons(self) -> list[str]:
        """What Jira says itself; a field's sentence begins with the field."""
        general = [one for one in self.messages if isinstance(one, str)]
        return general + [f"{name}: {one}" for name, one in self.errors.items() if isinstance(one, str)]
