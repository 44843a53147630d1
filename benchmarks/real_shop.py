"""Releases of a shop that nobody wrote for this: django-oscar, with migrations, static files and tests as they are.

The demo's shop deploys and tests in about a second, so that the starts of tasks are most of its figure. This one says
what the lock costs where there is work to do. Each release migrates the database.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import store
from figures import Figure
from stage import REAL, running

# The model does not know the column: one that must not be empty would keep its rows from being written.
MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gifts", "{before}")]
    operations = [migrations.AddField("Wrapping", "{name}", models.IntegerField(null=True))]
"""


def measure(*, port: int, rounds: int) -> list[Figure]:
    """Deliver features of the shop one after another, on an instance of its own."""
    held: list[float] = []
    work: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="fd-bench-") as scratch,
        running(Path(scratch) / "home", port=port, names=[REAL]) as stage,
    ):
        before = "0001_initial"
        for number in range(rounds + 1):
            name = f"bench_{number}"
            files = {f"gifts/migrations/{name}.py": MIGRATION.format(before=before, name=name)}
            key, _waits = store.deliver(stage, REAL, files)
            before = name
            if number:  # the first one does not count
                seconds, needed = store.production_seconds(stage, REAL, key)
                held.append(seconds)
                work.append(needed)
    return store.of_production("real_shop", "django-oscar", held, work)
