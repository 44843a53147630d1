import json
import os
from pathlib import Path

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


class Command(BaseCommand):
    help = "forward: migrate, and remember what this release adds; back: take back what it has added."

    def add_arguments(self, parser):
        parser.add_argument("direction", choices=["forward", "back"])

    def handle(self, *args, direction, **options):
        memory = Path(os.environ["DATA_DIR"], "releases", f"{os.environ['DELIVERY_COMMIT']}.json")
        executor = MigrationExecutor(connection)
        if direction == "forward":
            plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
            if plan and not memory.exists():
                memory.parent.mkdir(exist_ok=True)
                memory.write_text(json.dumps([[step.app_label, step.name] for step, _ in plan]))
            call_command("migrate", interactive=False)
        elif memory.exists():
            steps = [tuple(step) for step in json.loads(memory.read_text())]
            for app in dict.fromkeys(app for app, _ in steps):
                first = next(step for step in steps if step[0] == app)
                before = [node.key for node in executor.loader.graph.node_map[first].parents if node.key[0] == app]
                call_command("migrate", app, before[0][1] if before else "zero", interactive=False)
            memory.unlink()
