"""Where messages go, as the project file says it."""

from __future__ import annotations

import re
from datetime import time, timedelta
from pathlib import Path

import pytest
import yaml

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.messages import MessageKind, MessagesConfig, Reminding
from feature_delivery.domain.process import Step, Who
from tests.fakes.slack import NEEDS

PEOPLE = """
people:
  dan: {roles: [developer]}
  rob: {roles: [reviewer]}
  tom: {roles: [tester]}
  mia: {roles: [manager, operator]}
"""
SLACK = "kind: slack\n  connection: slack_shop\n  channel: C0123456789"


def messages(text: str) -> MessagesConfig:
    return parse_project(f"name: shop\nrepository: /srv/shop.git\n{PEOPLE}\n{text}", where="shop.yaml").messages


def refusal(text: str) -> str:
    with pytest.raises(Misconfigured, match=r"Project file 'shop\.yaml'") as caught:
        messages(text)
    return str(caught.value)


def test_nothing_said_is_the_board_alone() -> None:
    found = messages("")
    assert found == MessagesConfig()
    assert [found.channels(kind) for kind in MessageKind] == [()] * len(MessageKind)


def test_a_whole_part_is_read() -> None:
    found = messages(f"""
messages:
  {SLACK}
  mentions: {{dan: U0123456789, tom: tom@shop.example}}
  groups: {{tester: S0123456789}}
  working_hours: {{zone: Europe/Berlin, days: [mon, fri], begin: "08:30", end: "24:00"}}
  reminders:
    after: 2h
    gates:
      acceptance: {{after: 30m}}
      verdict: {{escalate_after: never}}
  digest: "09:15"
  notifiers:
    - {{name: mail, notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier, only: [alert], kwargs: {{to: x}}}}
""")
    assert (found.connection, found.channel) == ("slack_shop", "C0123456789")
    assert found.groups == {Who.TESTER: "S0123456789"}
    assert (found.hours.zone, found.hours.days, found.hours.begin, found.hours.end) == (
        "Europe/Berlin",
        frozenset({0, 4}),
        time(8, 30),
        time(0),
    )
    day = timedelta(days=1)
    assert found.reminding(Step.WAIT_FOR_REVIEW) == Reminding(timedelta(hours=2), day)
    assert found.reminding(Step.WAIT_FOR_ACCEPTANCE) == Reminding(timedelta(minutes=30), day)
    assert found.reminding(Step.WAIT_FOR_VERDICT) == Reminding(timedelta(hours=2), None)
    assert found.digest == time(9, 15)
    assert found.channels(MessageKind.NOTE) == ("slack",)
    assert found.channels(MessageKind.ALERT) == ("slack", "mail")
    assert found.notifiers[0].kwargs == {"to": "x"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: slack", "Slack needs an Airflow Connection"),
        ("kind: slack\n  connection: s\n  channel: '#deliveries'", "is no id of a Slack channel"),
        (f"{SLACK}\n  mentions: {{eve: U0123456789}}", "'eve' in 'messages.mentions' is nobody"),
        (f"{SLACK}\n  mentions: {{dan: dan}}", "neither a Slack user id"),
        (f"{SLACK}\n  mentions: {{dan: A@b.example, tom: a@b.example}}", "have the same account"),
        (f"{SLACK}\n  groups: {{tester: testers}}", "no Slack user group id"),
        (f"{SLACK}\n  groups: {{boss: S0123456789}}", "messages.groups"),
        ("kind: teams", "messages.kind"),
        ("working_hours: {zone: Mars/Olympus}", "is no time zone"),
        ("working_hours: {begin: '18:00', end: '09:00'}", "begin before they end"),
        ("working_hours: {begin: 25:00}", "messages.working_hours.begin"),
        ("working_hours: {days: []}", "messages.working_hours.days"),
        ("digest: noon", "messages.digest"),
        ("reminders: {after: soon}", "messages.reminders.after"),
        ("reminders: {gates: {code: {after: 1h}}}", "is no gate that people decide"),
        ("notifiers: [{name: slack, notifier: a.B}]", "needs a name of its own"),
        ("notifiers: [{name: a, notifier: a.B}, {name: a, notifier: a.B}]", "needs a name of its own"),
        ("notifiers: [{name: a, notifier: 'os.system(1)'}]", "messages.notifiers.0.notifier"),
        ("notifiers: [{name: a, notifier: a.B, only: [gossip]}]", "messages.notifiers.0.only.0"),
        ("chanel: x", "messages.chanel"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_that_names_it(text: str, sentence: str) -> None:
    assert sentence in refusal(f"messages:\n  {text}")


def test_a_clock_without_quotes_is_understood() -> None:
    """YAML makes a number of minutes of ``9:30`` where its old rules hold."""
    assert messages("messages: {digest: 570}").digest == time(9, 30)
    assert messages("messages: {digest: 9:30}").digest == time(9, 30)


def test_the_examples_of_the_documentation_are_what_is_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "slack.md").read_text()
    manifest, whole, others = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    assert set(manifest["oauth_config"]["scopes"]["bot"]) >= {*NEEDS.values()}
    found = parse_project(yaml.safe_dump(whole | {"messages": whole["messages"] | others["messages"]}), where="x")
    assert (found.messages.kind, len(found.messages.notifiers)) == ("slack", 3)
    assert found.messages.digest == time(9, 15)
