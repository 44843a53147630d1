"""Messages to people, and what they answer where they got them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from feature_delivery.domain.messages import MessageKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from feature_delivery.domain.finding import Finding
    from feature_delivery.domain.names import CommitSha, FeatureKey, PersonName, ProjectName
    from feature_delivery.domain.people import DecisionKind
    from feature_delivery.domain.process import Step, Who


@dataclass(frozen=True, slots=True)
class Link:
    """Where to look; ``url`` may be none that a browser opens safely: whoever shows it checks that."""

    title: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody is asked to decide, bound to what they decide about.

    Attributes:
        run_id: The run that carries the feature.
        gate: Where it waits.
        attempt: Number of the attempt; 0: before the first commit.
        commit: Its commit.
        candidate: What of it was tested and would ship.
        kinds: What may be said; empty: nothing any more.
    """

    run_id: str
    gate: Step
    attempt: int
    commit: CommitSha | None
    candidate: CommitSha | None
    kinds: tuple[DecisionKind, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Every text in it may hold anything from outside; nothing in it is markup.

    Attributes:
        id: Stable over retries.
        project: Whose it is.
        key: The feature it is about; ``None``: the project as a whole.
        to: Who is meant; nobody in particular if empty.
        text: What is said, one sentence or a few.
        kind: What it is for.
        title: The feature's title.
        run_id: The run that carries the feature: messages of a run belong together.
        roles: Roles of those who are meant, where it is everybody with them.
        facts: What should be known before answering, one a line.
        details: What failed in particular, one a line; shown as it was printed.
        links: Where to look.
        home: Where to follow the feature as a whole.
        board: Address of the board's page, empty where there is none.
        question: What is to be decided.
        outcome: What became of it; empty: nothing yet.
        at: When ``outcome`` came about.
        settled: Nothing of it will change any more.
        loud: Everybody in the channel has to see it, not only those who follow the feature.
    """

    id: str
    project: ProjectName
    key: FeatureKey | None
    to: tuple[PersonName, ...]
    text: str
    kind: MessageKind = MessageKind.NOTE
    title: str = ""
    run_id: str = ""
    roles: tuple[Who, ...] = ()
    facts: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    home: tuple[Link, ...] = ()
    board: str = ""
    question: Question | None = None
    outcome: str = ""
    at: datetime | None = None
    settled: bool = True
    loud: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """One press of a button in the chat, or one sent form.

    Attributes:
        id: The same for a repetition of the same press.
        user: The account in the chat.
        question: What the message was about.
        kind: What was said.
        comment: Why.
        place: The channel of the message.
        thread: Its thread.
    """

    id: str
    user: str
    question: Question
    kind: DecisionKind
    comment: str
    place: str
    thread: str


class Messenger(Protocol):
    """Sends one message; the same ``id`` again is not sent twice where the channel allows."""

    def send(self, message: Message) -> None:
        """Send it.

        Raises:
            Temporary: It was not sent, or nobody knows whether; the outbox tries again.
            Permanent: It cannot be sent like this; people must mend something first.
        """

    def update(self, message: Message) -> None:
        """Make a message that was sent say what ``message`` says now, where the channel can; else leave it.

        Raises:
            Temporary: Try again.
            Permanent: People must mend something first.
        """


@runtime_checkable
class Chat(Messenger, Protocol):
    """A channel in which people answer."""

    def emails_of(self, user: str) -> Sequence[str]:
        """Return the addresses of an account in the chat; none when it is unknown or hides them.

        Raises:
            Error: The chat could not be asked.
        """

    def whisper(self, user: str, place: str, thread: str, text: str) -> None:
        """Tell one person something that nobody else sees.

        Raises:
            Error: It was not said.
        """

    def examine(self) -> list[Finding]:
        """Look whether messages can be sent: token, rights, channel, people.

        Raises:
            Error: The chat did not answer.
        """
