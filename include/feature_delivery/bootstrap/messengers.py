"""Channels for messages: which adapter a project's file asks for, through Airflow's own hooks and notifiers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from feature_delivery.bootstrap.connections import login
from feature_delivery.domain.errors import Misconfigured, NotFound
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.messages import CHAT

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from feature_delivery.adapters.messengers.notifiers import Notify
    from feature_delivery.adapters.messengers.slack import Interactions, SlackMessenger
    from feature_delivery.adapters.messengers.slack.client import Api
    from feature_delivery.adapters.messengers.slack.directory import Accounts
    from feature_delivery.domain.messages import NotifierConfig
    from feature_delivery.domain.project import ProjectConfig
    from feature_delivery.ports.messenger import Messenger

Sessions = Callable[[], "AbstractContextManager[Session]"]

SLACK_API = "Slack API"
SECRETS_KEPT_SECONDS = 30.0
"""Whoever is not signed yet must not cost a look into the Connections each time."""

_lock = threading.Lock()
_secrets: dict[str, tuple[float, tuple[bytes, ...]]] = {}
_accounts: list[Accounts] = []


def channel(project: ProjectConfig, name: str, sessions: Sessions) -> Messenger:
    """Return a channel of the project's by its name.

    Raises:
        NotFound: The project has none of that name.
        Misconfigured: Its Connection or class is not right.
    """
    from feature_delivery.adapters.ledger.posts import SqlPosts  # noqa: PLC0415 - SQLAlchemy is heavy
    from feature_delivery.adapters.messengers.notifiers import NotifierMessenger  # noqa: PLC0415

    if name == CHAT and project.messages.kind == CHAT:
        return slack(project, sessions)
    for config in project.messages.notifiers:
        if config.name == name:
            return NotifierMessenger(_maker(config), name=name, posts=SqlPosts(sessions))
    raise NotFound(f"{project.name} has no channel {name!r} for messages any more. Look at 'messages' in its file.")


def slack(project: ProjectConfig, sessions: Sessions) -> SlackMessenger:
    """Return the project's channel in Slack.

    Raises:
        Misconfigured: The Connection is missing or lacks the token.
    """
    from feature_delivery.adapters.ledger.posts import SqlPosts  # noqa: PLC0415 - SQLAlchemy is heavy
    from feature_delivery.adapters.messengers.slack import SlackMessenger  # noqa: PLC0415
    from feature_delivery.adapters.messengers.slack.directory import Accounts, Directory  # noqa: PLC0415

    with _lock:
        if not _accounts:
            _accounts.append(Accounts())
    api = _api(project)
    reader = interactions(project)
    return SlackMessenger(
        api,
        project=project,
        posts=SqlPosts(sessions),
        directory=Directory(api, project.messages, project.people, _accounts[0]),
        sign=reader.sign if reader.believes else None,
        signer=reader.signer,
    )


def _api(project: ProjectConfig) -> Api:
    from airflow.providers.slack.hooks.slack import SlackHook  # noqa: PLC0415 - only where messages are sent

    from feature_delivery.adapters.messengers.slack.client import QUIET, TIMEOUT_SECONDS, Api  # noqa: PLC0415

    connection = project.messages.connection
    if not login(connection, kind=SLACK_API).secret:
        raise Misconfigured(
            f"The Connection {connection!r} has no token. Put the bot's token (xoxb-…) into its password."
        )
    # Nothing is repeated inside the client: what was not answered may have arrived.
    hook: Any = SlackHook(slack_conn_id=connection, timeout=TIMEOUT_SECONDS, retry_handlers=[], logger=QUIET)
    return Api(hook.client, channel=project.messages.channel, connection=connection)


def examine(project: ProjectConfig, sessions: Sessions) -> list[Finding]:
    """Look whether every channel of a project can be spoken to.

    Raises:
        Error: Slack did not answer.
    """
    found = []
    for config in project.messages.notifiers:
        try:
            _maker(config)()
        except Misconfigured as error:
            found.append(Finding(config.name, well=False, sentence=str(error)))
        else:
            found.append(Finding(config.name, well=True, sentence=f"{config.notifier} can be made."))
    if project.messages.kind != CHAT:
        return found
    chat = slack(project, sessions)
    if not interactions(project).believes:
        said = "No signing secret is set: questions come without buttons. Put 'signing_secret' into the extra of the "
        said += f"Connection {project.messages.connection!r}."
        found.append(Finding("buttons", well=False, sentence=said))
    return [*found, *chat.examine()]


def interactions(project: ProjectConfig) -> Interactions:
    """Return what reads the project's interactions; it believes nothing where no signing secret is set.

    Raises:
        Misconfigured: There is no such Connection.
    """
    from feature_delivery.adapters.messengers.slack import Interactions  # noqa: PLC0415 - slack_sdk is heavy

    return Interactions(project.name, _signing_secrets(project.messages.connection))


def _signing_secrets(connection: str) -> tuple[bytes, ...]:
    """Return the app's signing secrets: ``signing_secret`` in the extra, several separated by white space."""
    with _lock:
        at, found = _secrets.get(connection, (float("-inf"), ()))
    if time.monotonic() - at < SECRETS_KEPT_SECONDS:
        return found
    said = str(login(connection, kind=SLACK_API).options.get("signing_secret") or "")
    found = tuple(one.encode() for one in said.split())
    with _lock:
        _secrets[connection] = (time.monotonic(), found)
    return found


def _maker(config: NotifierConfig) -> Callable[[], Notify]:
    """Return what makes the notifier.

    Raises:
        Misconfigured: There is no such class, or it is no notifier.
    """
    from airflow.sdk import BaseNotifier  # noqa: PLC0415 - only where messages are sent

    place, _, name = config.notifier.rpartition(".")
    try:
        found = getattr(import_module(place), name)
    except (ImportError, AttributeError) as error:
        raise Misconfigured(
            f"There is no notifier {config.notifier!r} ({type(error).__name__}). Install its provider, or rename it."
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise Misconfigured(f"{config.notifier!r} is no notifier of Airflow's. Name a subclass of BaseNotifier.")

    def make() -> Notify:
        try:
            return cast("Notify", found(**config.kwargs))
        except (TypeError, ValueError) as error:
            raise Misconfigured(
                f"The notifier {config.name!r} cannot be made with its 'kwargs' ({type(error).__name__}). Correct them."
            ) from error

    return make
