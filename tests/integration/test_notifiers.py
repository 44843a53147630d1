"""Airflow's own notifiers, named in a project file: Mattermost by its webhook and SMTP, over real sockets."""

from __future__ import annotations

import email
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from email.message import Message as Mail
from typing import Any

import pytest

from feature_delivery.adapters.messengers.notifiers import NotifierMessenger
from feature_delivery.adapters.messengers.posts import Posts
from feature_delivery.bootstrap.messengers import _maker, channel
from feature_delivery.domain.errors import Misconfigured, NotFound, Unavailable
from feature_delivery.domain.messages import NotifierConfig
from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
from feature_delivery.ports.messenger import Link, Message
from feature_delivery.services.control.posting import hopeless
from tests.fakes.hosts.common import Answer, Call, HostServer
from tests.fakes.posts import FakePosts
from tests.support.world import shop

SHOP = ProjectName("shop")
SAID = Message(
    "m-1",
    SHOP,
    FeatureKey("SHOP-1"),
    (PersonName("tom"),),
    "SHOP-1 <b>{{ 7 * 6 }}</b>\r\nBcc: eve@else.example: test it.",
    title="Cards",
    links=(Link("Preview", "https://preview.example/"),),
)
WEBHOOK = "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier"
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"


@dataclass
class Mattermost:
    """A server that takes incoming webhooks."""

    server: HostServer
    said: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, call: Call) -> Answer:
        self.said.append(call.json())
        return Answer(200, b"ok", {"Content-Type": "text/plain"})

    git_user = pushed = lambda *_about: None


@pytest.fixture
def mattermost(airflow_engine: object) -> Iterator[Mattermost]:
    """Run the server; Airflow is there already."""
    server = HostServer()
    server.host = found = Mattermost(server)
    with server.running():
        yield found


def messenger(posts: Posts, notifier: str, **kwargs: Any) -> NotifierMessenger:
    made: Callable[[], Any] = _maker(NotifierConfig("other", notifier, kwargs))
    return NotifierMessenger(made, name="other", posts=posts)


def test_mattermost_is_told_by_its_webhook_once_and_nothing_of_a_title_is_rendered(
    mattermost: Mattermost, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"conn_type": "slackwebhook", "password": f"{mattermost.server.url}/hooks/secret"}
    monkeypatch.setenv("AIRFLOW_CONN_MATTERMOST", json.dumps(entry))
    posts = FakePosts()
    text = "{{ delivery.key }} for {{ delivery.to }}: {{ delivery.text }}"
    for _ in range(2):
        messenger(posts, WEBHOOK, slack_webhook_conn_id="mattermost", text=text).send(SAID)
    (said,) = mattermost.said
    assert said["text"].startswith("SHOP-1 for tom: SHOP-1 <b>{{ 7 * 6 }}</b>")
    assert said["text"].endswith("Preview: https://preview.example/")


def test_a_server_that_refuses_is_asked_again_and_its_address_is_in_no_sentence(
    mattermost: Mattermost, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"conn_type": "slackwebhook", "password": f"{mattermost.server.url}/hooks/secret"}
    monkeypatch.setenv("AIRFLOW_CONN_MATTERMOST", json.dumps(entry))
    mattermost.server.faults.rules = [("POST", "hooks", Answer(500, b"secret"))]
    posts = FakePosts()
    told = messenger(posts, WEBHOOK, slack_webhook_conn_id="mattermost", text="{{ delivery.subject }}")
    with pytest.raises(Unavailable, match="The notifier 'other' could not send a message") as raised:
        told.send(SAID)
    assert "secret" not in str(raised.value)
    mattermost.server.faults.rules = []
    told.send(SAID)
    assert len(mattermost.said) == 1


@contextmanager
def mail_server() -> Iterator[tuple[int, list[tuple[list[str], Mail]]]]:
    """Run a server that takes every mail; yields its port, and who was written to and what."""
    taken: list[tuple[list[str], Mail]] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            to: list[str] = []
            while line := self.rfile.readline().strip():
                verb = line.split(b" ")[0].upper().partition(b":")[0]
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    parts = iter(self.rfile.readline, b".\r\n")
                    taken.append((to, email.message_from_bytes(b"".join(parts))))
                if verb == b"RCPT":
                    to.append(line.decode().partition("<")[2].rstrip(">"))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 fine\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_address[1], taken
        server.shutdown()
        thread.join()


def test_a_mail_is_sent_with_one_subject_and_harmless_html(
    airflow_engine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server() as (port, taken):
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "deliveries@shop.example"}
        entry = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(entry))
        subject, page = "{{ delivery.subject }}", "{{ delivery.html }}"
        told = messenger(
            FakePosts(), SMTP, smtp_conn_id="mail", to="team@shop.example", subject=subject, html_content=page
        )
        told.send(replace(SAID, id="m-2"))
    ((to, mail),) = taken
    assert to == ["team@shop.example"]
    assert mail["Subject"] == "SHOP-1 <b>{{ 7 * 6 }}</b>"
    assert mail["Bcc"] is None
    shown = str(next(p.get_payload(decode=True) for p in mail.walk() if p.get_content_type() == "text/html"))
    assert "&lt;b&gt;{{ 7 * 6 }}&lt;/b&gt;" in shown
    assert "Preview: https://preview.example/" in shown


@pytest.mark.parametrize(
    ("notifier", "kwargs", "sentence"),
    [
        ("airflow.providers.nowhere.Notifier", {}, "There is no notifier"),
        ("airflow.providers.slack.notifications.slack_webhook.Nobody", {}, "There is no notifier"),
        ("subprocess.Popen", {}, "is no notifier of Airflow's"),
        (WEBHOOK, {"txt": "x"}, "cannot be made with its 'kwargs'"),
    ],
)
def test_what_is_no_notifier_is_said_so(
    airflow_engine: object, notifier: str, kwargs: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        messenger(FakePosts(), notifier, **kwargs).send(SAID)


def test_a_channel_that_the_file_does_not_have_any_more_is_waited_for_by_none_of_its_messages() -> None:
    with pytest.raises(NotFound, match="no channel 'mail' for messages any more") as raised:
        channel(shop(), "mail", nullcontext)  # type: ignore[arg-type]  # no session is opened
    assert hopeless(raised.value)
