"""By which way somebody said something: kept with every decision, the same words everywhere."""

from __future__ import annotations

from enum import StrEnum

CLI_AGENT = "feature-delivery-cli/"
"""How our own command line begins its ``User-Agent``."""


class Way(StrEnum):
    """Where a decision was said."""

    BOARD = "board"
    SLACK = "slack"
    AIRFLOW = "airflow"  # Airflow's page of Required Actions
    REVIEW = "review"  # a review on the Git host
    COMMENT = "comment"  # a command in a comment on a merge request
    CLI = "cli"
    REST = "rest"
    BREAK_GLASS = "break-glass"
    DIRECT = "direct"  # the command line on the ledger itself, while Airflow is down
