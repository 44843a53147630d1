"""Slack: one thread per feature, questions with buttons, alerts; what people press there."""

from feature_delivery.adapters.messengers.slack.interactions import Form, Interactions, TooOld
from feature_delivery.adapters.messengers.slack.messenger import SlackMessenger

__all__ = ["Form", "Interactions", "SlackMessenger", "TooOld"]
