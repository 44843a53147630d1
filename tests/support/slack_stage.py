"""A project in our own Slack: its people have accounts there, and its messenger is the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from slack_sdk import WebClient

from feature_delivery.adapters.messengers.posts import Posts
from feature_delivery.adapters.messengers.slack import Interactions, SlackMessenger
from feature_delivery.adapters.messengers.slack.client import QUIET, Api
from feature_delivery.adapters.messengers.slack.directory import Accounts, Directory
from feature_delivery.domain.messages import MessagesConfig
from feature_delivery.domain.project import ProjectConfig
from tests.fakes.posts import FakePosts
from tests.fakes.slack import CHANNEL, SIGNING_SECRET, TOKEN, FakeSlack, fake_slack
from tests.support.world import STAFF, shop

ACCOUNTS = {f"U0{name.upper()}": f"{name}@example.com" for name in STAFF}


def slack_shop(**messages: object) -> ProjectConfig:
    """Return the simulated shop with its messages in Slack."""
    config = MessagesConfig(kind="slack", connection="slack", channel=CHANNEL, **messages)  # type: ignore[arg-type]
    return replace(shop(), messages=config)


@dataclass
class SlackStage:
    """The workspace, and what speaks to it."""

    slack: FakeSlack
    project: ProjectConfig
    posts: Posts
    reader: Interactions

    def messenger(
        self, *, timeout_seconds: int = 5, buttons: bool = True, project: ProjectConfig | None = None
    ) -> SlackMessenger:
        """Return the messenger, as after a restart: nothing is remembered but what the ledger has."""
        project = project or self.project
        client = WebClient(
            token=TOKEN, base_url=self.slack.url, timeout=timeout_seconds, retry_handlers=[], logger=QUIET
        )
        api = Api(client, channel=project.messages.channel, connection=project.messages.connection)
        return SlackMessenger(
            api,
            project=project,
            posts=self.posts,
            directory=Directory(api, project.messages, project.people, Accounts()),
            sign=self.reader.sign if buttons else None,
            signer=self.reader.signer,
        )


@contextmanager
def slack_stage(**messages: object) -> Iterator[SlackStage]:
    """Run a workspace with everybody of the simulated shop in it."""
    project = slack_shop(**messages)
    with fake_slack() as slack:
        slack.users = dict(ACCOUNTS)
        yield SlackStage(slack, project, FakePosts(), Interactions(project.name, (SIGNING_SECRET,)))
