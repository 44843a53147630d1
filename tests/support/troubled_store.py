# mypy: ignore-errors
"""The demo store, made slow or failing by what a file says: run by the store's own Python, not imported by tests."""

import os
import runpy
import sys
import time
from pathlib import Path

sys.path.insert(0, os.environ["STORE"])
TROUBLE = Path(os.environ["TROUBLE"])

import bottle  # noqa: E402
from store import web  # noqa: E402

make = web.create_app


def create_app(settings):
    app = make(settings)

    @app.hook("before_request")
    def trouble():
        what = TROUBLE.read_text()
        if bottle.request.path in {"/metrics", "/healthz"}:
            return
        if what == "slow":
            time.sleep(0.1)
        if what == "failing" or (what == "flapping" and int(time.time() * 3) % 2):
            raise bottle.HTTPResponse("broken", 500)

    return app


web.create_app = create_app
runpy.run_module("store", run_name="__main__")
