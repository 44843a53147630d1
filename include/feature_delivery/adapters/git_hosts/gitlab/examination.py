"""Look at a GitLab for ``doctor``: what would stop a delivery is found before the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from feature_delivery.adapters.git_hosts.gitlab.answers import Hook, HookEvent, Member, Project, TokenInfo
from feature_delivery.adapters.git_hosts.gitlab.protection import look_at_branch, look_at_reviews
from feature_delivery.domain.errors import Error, NotFound
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.gitlab.client import Client
    from feature_delivery.domain.project import HostConfig

ROLES = {
    5: "Minimal access",
    10: "Guest",
    15: "Planner",
    20: "Reporter",
    30: "Developer",
    40: "Maintainer",
    50: "Owner",
}
REPORTER, DEVELOPER, OWNER = 20, 30, 50
SOON = timedelta(days=14)

HOST_EVENTS = {"push_events": "Push", "merge_requests_events": "Merge request", "note_events": "Comments"}
ISSUE_EVENTS = {"issues_events": "Issues"}
WEBHOOK_PATH = "/feature-delivery/webhooks/"


def examine_host(client: Client, config: HostConfig) -> Iterator[Finding]:
    """Look at everything that deliveries need of the host; a token that is refused ends it."""
    findings, project = look_at_project(client)
    yield from findings
    if project is None:
        return
    yield look_at_role(client, DEVELOPER)
    yield from _features(project)
    for branch in config.branches or (project.default_branch,):
        production = branch == (config.branches or (project.default_branch,))[0]
        yield _guarded(f"branch {str(branch)!r}", partial(look_at_branch, client, str(branch), production=production))
    yield _guarded("reviews", partial(look_at_reviews, client))
    yield look_at_webhook(client, HOST_EVENTS)


def look_at_project(client: Client) -> tuple[list[Finding], Project | None]:
    """Return what there is to say of token and project, and the project when it is there."""
    try:
        token = _token(client)
    except Error as error:
        return [Finding("token", well=False, sentence=str(error))], None
    try:
        with client.doing(f"look at {client.entry.project}", right="the role Reporter"):
            project = client.get(client.project(), Project)
    except Error as error:
        return [token, Finding("project", well=False, sentence=str(error))], None
    name = project.path_with_namespace
    if project.archived:
        finding = Finding("project", well=False, sentence=f"{name} is archived: nothing can be written. Unarchive it.")
    elif name.lower() != client.entry.project.lower():
        sentence = f"{client.entry.project} is {name} by now. Correct its path in the project file."
        finding = Finding("project", well=False, sentence=sentence)
    else:
        finding = Finding("project", well=True, sentence=f"{name} is there.")
    return [token, finding], project


def access_level(client: Client) -> int:
    """Return the level of our role in the project, 0 for none. Inside ``doing``."""
    if client.me.is_admin:
        return OWNER
    member = client.find(client.project("members", "all", client.me.id), Member)
    return member.access_level if member else 0


def look_at_role(client: Client, needed: int) -> Finding:
    """Say whether the token's account has the role that deliveries need."""
    return _guarded("role", partial(_role, client, needed))


def look_at_webhook(client: Client, needed: dict[str, str]) -> Finding:
    """Say whether pushes and the rest are told to us, and how the last time went."""
    return _guarded("webhook", partial(_webhook, client, needed))


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Error as error:
        return Finding(what, well=False, sentence=str(error))


def _token(client: Client) -> Finding:
    """Look at the token itself.

    Raises:
        Error: It does not work.
    """
    with client.doing("look at the token", right="the scope 'api'"):
        me = client.me.username
        # Tokens of OAuth applications are not found there.
        info = client.find("/personal_access_tokens/self", TokenInfo)
    if info is None:
        return Finding("token", well=True, sentence=f"It is the one of {me!r}. GitLab does not tell its scopes.")
    if info.scopes and "api" not in info.scopes and not info.granular:
        sentence = f"It has not the scope 'api', only {', '.join(info.scopes)}. Make one that has it."
        return Finding("token", well=False, sentence=sentence)
    today = datetime.now(UTC).date()
    if info.expires_at is not None and info.expires_at <= today + SOON:
        return Finding("token", well=False, sentence=f"It ends on {_day(info.expires_at)}. Make a new one in time.")
    lasts = f", and lasts until {_day(info.expires_at)}" if info.expires_at else ""
    return Finding("token", well=True, sentence=f"It is the one of {me!r}{lasts}.")


def _day(day: date) -> str:
    return day.isoformat()


def _role(client: Client, needed: int) -> Finding:
    with client.doing("look at our role in the project", right="the role Reporter"):
        level = access_level(client)
    wanted = ROLES[needed]
    name = ROLES.get(level, f"level {level}") if level else "no role"
    if level < needed:
        sentence = f"{client.me.username!r} has {name} in the project. Give the account the role {wanted}."
        return Finding("role", well=False, sentence=sentence)
    return Finding("role", well=True, sentence=f"{client.me.username!r} has the role {name}.")


def _features(project: Project) -> Iterator[Finding]:
    if project.merge_requests_access_level == "disabled":
        sentence = "Merge requests are switched off. Switch them on in Settings, General, Visibility."
        yield Finding("merge requests", well=False, sentence=sentence)
    if project.builds_access_level == "disabled":
        sentence = (
            "CI/CD is switched off, and statuses of commits with it. Switch it on in Settings, General, Visibility."
        )
        yield Finding("statuses", well=False, sentence=sentence)


def _webhook(client: Client, needed: dict[str, str]) -> Finding:
    def wrong(sentence: str) -> Finding:
        return Finding("webhook", well=False, sentence=sentence)

    try:
        with client.doing("look at the webhooks", right="the role Maintainer"):
            ours = [one for one in client.walk(client.project("hooks"), Hook) if WEBHOOK_PATH in one.url]
    except Error as error:
        return wrong(f"It cannot be looked at: {error} Or look at Settings, Webhooks yourself.")
    if not ours:
        return wrong(
            f"There is none to an address with {WEBHOOK_PATH!r}: changes are found by housekeeping only. Add one."
        )
    hook = next((one for one in ours if one.alert_status in {"", "executable"}), ours[0])
    if hook.alert_status not in {"", "executable"}:
        until = f" until {hook.disabled_until:%Y-%m-%d %H:%M} UTC" if hook.disabled_until else ""
        return wrong(
            f"GitLab has switched it off{until}, because deliveries failed. See that Airflow can be reached from "
            "there, then press 'Test' on its page."
        )
    missing = [name for field, name in needed.items() if not getattr(hook, field)]
    if missing:
        return wrong(f"It is not sent for {', '.join(missing)}. Tick these events on its page.")
    if hook.push_events_branch_filter:
        return wrong(
            f"It is sent for branches like {hook.push_events_branch_filter[:60]!r} only. Let it be sent for all."
        )
    return _last_delivery(client, hook) or Finding("webhook", well=True, sentence="It is active.")


def _last_delivery(client: Client, hook: Hook) -> Finding | None:
    """Return how the last delivery went; versions before 17.3 do not tell."""
    try:
        with client.doing("look at the webhook's deliveries", right="the role Maintainer"):
            last = client.newest(client.project("hooks", hook.id, "events"), HookEvent)
    except NotFound:
        return None
    if last is None:
        return None
    if not last.response_status.startswith("2"):
        shown = last.response_status if last.response_status.isdigit() else "not at all"
        sentence = f"Its last delivery ({last.trigger}) was answered {shown}. 401 means another secret token."
        return Finding("webhook", well=False, sentence=f"{sentence} Look at 'Recent events' on its page.")
    return Finding("webhook", well=True, sentence="It is active, and its last delivery arrived.")
