"""The command ``feature-delivery``. Exit codes: 0 done, 1 failed or refused, 2 wrong usage."""

from __future__ import annotations

import sys

import typer

from feature_delivery.cli import commands, instance_commands, operator_commands
from feature_delivery.domain.errors import Error

app = typer.Typer(
    name="feature-delivery",
    help="Carries features of an online shop from issue to production and demonstration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands.register(app)
operator_commands.register(app)
instance_commands.register(app)


def main() -> None:
    """Run the command line; every expected error is one sentence on standard error."""
    try:
        app()
    except Error as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
