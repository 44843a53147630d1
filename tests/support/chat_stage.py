"""The simulated world with its messages in our own Slack: people press buttons there, on a clock of the world's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from feature_delivery.adapters.messengers.posts import Sent
from feature_delivery.adapters.messengers.slack import Form
from feature_delivery.domain.messages import CHAT
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.outbox import OutboxEntry, Post
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import Step
from feature_delivery.ports.messenger import Press
from feature_delivery.services.control import hearing, outbox, reminders
from tests.fakes.slack import FakeSlack, Said
from tests.support.slack_stage import SlackStage, slack_stage
from tests.support.stage import Stage, outside_shop
from tests.support.world import World


@dataclass
class WorldPosts:
    """``Posts`` in the world's ledger, each call in a transaction of its own."""

    world: World

    def find(self, project: ProjectName, channel: str, marker: str) -> Sent | None:
        with self.world.peek() as books:
            post = books.post(project, channel, marker)
        return Sent(post.place, post.ts, post.digest, post.settled, post.at) if post is not None else None

    def intend(self, project: ProjectName, channel: str, marker: str) -> None:
        with self.world.begin() as unit:
            if unit.books.post(project, channel, marker) is None:
                entry = unit.books.outbox_marked(project, f"{channel}>{marker}")
                number = entry.feature_id if entry is not None else 0
                unit.books.add(Post(project=project, feature_id=number, channel=channel, marker=marker))

    def withdraw(self, project: ProjectName, channel: str, marker: str) -> None:
        with self.world.begin() as unit:
            post = unit.books.post(project, channel, marker)
            if post is not None and not post.place:
                self.world.books.rows[Post].remove(post)

    def keep(self, project: ProjectName, channel: str, marker: str, sent: Sent) -> None:
        with self.world.begin() as unit:
            post = unit.books.post(project, channel, marker)
            assert post
            post.place, post.ts, post.digest, post.settled = sent.place, sent.ts, sent.digest, sent.settled


@dataclass
class ChatStage(Stage):
    """``press`` is what a person does in Slack and what comes of it."""

    workspace: SlackStage = field(init=False)

    @property
    def slack(self) -> FakeSlack:
        return self.workspace.slack

    def _due(self, entry: OutboxEntry) -> bool:
        """Of a lane only the first is ever due."""
        lane = [one for one in self.unsent() if (one.feature_id, one.lane) == (entry.feature_id, entry.lane)]
        return super()._due(entry) and (entry not in lane or entry is lane[0])

    def press(self, person: str, said: Said, label: str, comment: str = "") -> None:
        """Press a button, fill in the form if there is one, and let it be decided."""
        user, reader = f"U0{person.upper()}", self.workspace.reader
        found = reader.read(self.slack.press(user, said, label)[1])
        if isinstance(found, Form):
            chat = self.workspace.messenger(project=self.project)
            chat.ask_why(found.trigger, found.value, key=found.key, place=found.place, thread=found.thread)
            found = reader.read(self.slack.submit(user, comment)[1])
        assert isinstance(found, Press)
        with self.begin() as unit:
            hearing.store(unit, self.project, found)
        if found.kind is DecisionKind.APPROVE:
            asked = found.question
            self.witness.approvals.add((asked.run_id, asked.attempt, asked.gate, person))
        self.errands()

    def last(self, words: str) -> Said:
        """Return the newest message of the thread in which ``words`` are."""
        return next(one for one in reversed(self.slack.thread()) if words in one.words())

    def texts(self) -> list[str]:
        """Return the first line of every message in the thread."""
        return [one.text.splitlines()[0] for one in self.slack.thread()]

    def housekeeping(self) -> None:
        """Do what housekeeping does for messages, then everything that is due."""
        with self.peek() as books:
            gates = reminders.due(self.project, books.open_gates(self.project.name), self.time)
        for gate in gates:
            with self.begin() as unit:
                reminders.remind(unit, self.project, unit.books.feature_by_id(gate.feature_id).run_id)
        with self.begin() as unit:
            reminders.digest(unit, self.project)
        self.errands()

    def drain(self) -> tuple[int, int]:
        """Run the outbox once."""
        return outbox.drain(self.control)

    def unsent(self) -> list[OutboxEntry]:
        """Return what is still in the outbox for channels."""
        return [one for one in self.books.of(OutboxEntry) if one.lane and one.sent_at is None]

    def question(self, gate: Step) -> Said:
        """Bring the feature to a gate and return the message that asks there."""
        self.at(gate)
        return self.slack.thread()[-1]


@contextmanager
def chat_stage(**messages: object) -> Iterator[ChatStage]:
    """Run the world and its workspace."""
    with slack_stage(**messages) as outside:
        stage = ChatStage(project=replace(outside_shop(), messages=outside.project.messages))
        outside.posts = WorldPosts(stage)
        stage.workspace = outside
        stage.channels[CHAT] = outside.messenger(project=stage.project)
        yield stage
        stage.close()
