"""The command ``feature-delivery``. Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 128 + N after signal N."""

from __future__ import annotations

import os
import sys

import typer

from feature_delivery.cli import (
    brake_commands,
    commands,
    instance_commands,
    monitoring_commands,
    operator_commands,
    signals,
    webhook_commands,
)
from feature_delivery.domain.errors import Error

app = typer.Typer(
    name="feature-delivery",
    help="Carries features of an online shop from issue to production and demonstration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
instance_commands.register(app)
commands.register(app)
operator_commands.register(app)
brake_commands.register(app)
webhook_commands.register(app)
monitoring_commands.register(app)


def main() -> None:
    """Run the command line; every expected error is one sentence on standard error."""
    signals.listen()
    try:
        app()
    except Error as error:
        _fail(str(error))
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(_sentence(error))
    except signals.Stopped as stopped:
        sys.exit(stopped.code)


def _fail(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(1)


def _sentence(error: OSError) -> str:
    """Return what the operating system refused, and to what."""
    what = f" {str(error.filename)!r}" if error.filename else ""
    reason = error.strerror or type(error).__name__
    return f"The system refused to read or write{what}: {reason}. Make room or mend that, then try again."
