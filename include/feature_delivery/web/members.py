"""Who is in a role or group of Airflow's auth manager: it alone knows, so it is asked, not the token of a login.

So people are known before they log in: who may decide is named in every sentence, is told what waits for them, and is
recognised as the author of a commit by the address that the auth manager keeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from airflow.api_fastapi.app import get_auth_manager
from airflow.configuration import conf
from airflow.utils.session import create_session
from sqlalchemy import select

from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.names import PersonName, person_name
from feature_delivery.domain.people import Member, Membership

FRESH_SECONDS = 30.0
KEPT_SECONDS = 300.0
"""So long the last answer counts while the auth manager gives no other; then it is not known who is in a group."""

TIMEOUT_SECONDS = 10
"""So long one request of a question may take."""

WAIT_SECONDS = 2.0 * TIMEOUT_SECONDS
"""So long is waited for the end of the first question: a token and a page of members, each as slow as may be."""

_log = logging.getLogger(__name__)
Found = Iterable[tuple[str, str, str]]
"""User name, e-mail address (may be empty), role or group."""


def _of_simple(groups: frozenset[str]) -> Found:
    for user in get_auth_manager().get_users():
        if user.role is not None and (group := str(user.role).lower()) in groups:
            yield user.username, "", group


def _of_fab(groups: frozenset[str]) -> Found:
    """Roles, and groups whose roles their members have; people whose account is closed are in neither."""
    from airflow.providers.fab.auth_manager.models import Group, Role, User  # noqa: PLC0415 - where it is installed

    roles = select(User.username, User.email, Role.name).join(User.roles).where(Role.name.in_(groups))
    members = select(User.username, User.email, Group.name).join(Group.users).where(Group.name.in_(groups))
    through = (
        select(User.username, User.email, Role.name).join(Group.users).join(Group.roles).where(Role.name.in_(groups))
    )
    with create_session(scoped=False) as session:
        for query in (roles, members, through):
            for name, email, group in session.execute(query.where(User.active.is_(True))):
                yield str(name), str(email or ""), str(group)


def _of_keycloak(groups: frozenset[str]) -> Found:
    """Realm roles, and groups by their path (``/shop/testers``); by Airflow's own client, which needs *view-users*."""
    from keycloak import KeycloakAdmin  # noqa: PLC0415 - where it is installed
    from keycloak.exceptions import KeycloakGetError  # noqa: PLC0415

    section = "keycloak_auth_manager"
    admin = KeycloakAdmin(
        server_url=conf.get(section, "server_url"),
        realm_name=conf.get(section, "realm"),
        user_realm_name=conf.get(section, "realm"),
        client_id=conf.get(section, "client_id"),
        client_secret_key=conf.get(section, "client_secret"),
        timeout=TIMEOUT_SECONDS,
    )
    for group in sorted(groups):
        try:
            found = (
                admin.get_group_members(admin.get_group_by_path(group)["id"])
                if group.startswith("/")
                else admin.get_realm_role_members(group)
            )
        except KeycloakGetError as error:
            if error.response_code != 404:
                raise
            _log.warning("Keycloak has no role or group %r, which a project file names.", group)
            continue
        for user in found:
            if user.get("enabled", False):
                yield str(user["username"]), str(user.get("email") or ""), group


SOURCES: Mapping[str, Callable[[frozenset[str]], Found]] = {
    "SimpleAuthManager": _of_simple,
    "FabAuthManager": _of_fab,
    "KeycloakAuthManager": _of_keycloak,
}


@dataclass(slots=True)
class _Known:
    """What was answered last, and when; when it was asked for last; whether a question has come to its end yet."""

    members: tuple[Member, ...] = ()
    at: float = float("-inf")
    asked: float = float("-inf")
    ended: bool = False


@dataclass(slots=True)
class Directory:
    """Members by groups, asked for at most twice a minute by one thread at a time.

    Nobody else waits meanwhile, but for the end of the very first question: before it, nothing is known. When the auth
    manager cannot be asked, what it said last counts for some minutes; after that it is not known who is in a group,
    and nothing may be concluded from that.
    """

    clock: Callable[[], float] = time.monotonic
    _known: dict[frozenset[str], _Known] = field(default_factory=dict)
    _asking: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, groups: frozenset[str]) -> Membership:
        """Return everybody who is in one of ``groups``."""
        known = self._known.setdefault(groups, _Known())
        first = not known.ended
        stale = self.clock() - known.asked >= FRESH_SECONDS
        if (first or stale) and self._asking.acquire(timeout=WAIT_SECONDS if first else 0):
            try:
                self._ask(groups, known)
            finally:
                self._asking.release()
        if self.clock() - known.at < KEPT_SECONDS:
            return Membership(known.members)
        return Membership(known=False)

    def forget(self) -> None:
        """Ask anew next time."""
        self._known.clear()

    def _ask(self, groups: frozenset[str], known: _Known) -> None:
        if self.clock() - known.asked < FRESH_SECONDS:
            return  # somebody else has just asked
        known.asked = self.clock()
        try:
            known.members, known.at = tuple(_members(_source()(groups))), self.clock()
        except Exception as error:  # noqa: BLE001 - whatever it is made of, it must not take the web app down
            _log.error("Could not ask the auth manager who is in the groups of project files: %s", _reason(error))
        finally:
            known.ended = True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Misconfigured) else type(error).__name__


def _source() -> Callable[[frozenset[str]], Found]:
    kinds = [each.__name__ for each in type(get_auth_manager()).__mro__]
    for kind in kinds:
        if kind in SOURCES:
            return SOURCES[kind]
    raise Misconfigured(f"{kinds[0]} cannot be asked who is in a group. Name the people in the project file instead.")


def _members(found: Found) -> Iterator[Member]:
    groups: dict[PersonName, set[str]] = defaultdict(set)
    emails: dict[PersonName, set[str]] = defaultdict(set)
    for text, email, group in found:
        try:
            name = person_name(text)
        except Refused as error:
            _log.warning("Somebody in %r is left out: %s", group, error)
            continue
        groups[name].add(group)
        emails[name] |= {email.lower()} if email else set()
    for name in sorted(groups):
        yield Member(name=name, groups=frozenset(groups[name]), emails=frozenset(emails[name]))


directory = Directory()
