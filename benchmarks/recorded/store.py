# mypy: ignore-errors
# ruff: noqa: S311 - chance decides about noise here, not about secrets
"""The demo store with a database server behind it, as shops have one: run by the shop's own Python, see ``record.py``.

Each answer waits for PostgreSQL (``answer()`` of ``recorder.py``): rows that it reads, a row that it locks when
something is bought, and somebody else's service. What a release changes comes by the environment: ``SHOP_SLOWER``
(1.25: each answer takes a quarter longer, whatever it is made of), ``SHOP_MORE_ERRORS`` (0.02: two of a hundred fail
besides).
"""

import os
import random
import runpy
import sys
import threading
import time

import bottle
import psycopg2

sys.path.insert(0, os.environ["STORE"])
from store import web

SHOP, DATABASE = os.environ["SHOP"], os.environ["SHOP_DATABASE"]
SPREAD = float(os.environ["SHOP_SPREAD"])
SLOWER = float(os.environ.get("SHOP_SLOWER", "1"))
MORE_ERRORS = float(os.environ.get("SHOP_MORE_ERRORS", "0"))
PRODUCTS = 30
OPERATIONS = frozenset(("/metrics", "/healthz"))
held = threading.local()
make = web.create_app


def database() -> psycopg2.extensions.connection:
    """Return this thread's connection."""
    if not hasattr(held, "connection"):
        held.connection = psycopg2.connect(DATABASE)
        held.connection.autocommit = True
    return held.connection


def behind() -> float:
    """Ask the database; returns the share of answers that fail just now."""
    product = int(PRODUCTS * random.random() ** 3)  # a few are what most people look at
    with database().cursor() as cursor:
        cursor.execute(
            "SELECT answer(%s, %s, %s, %s)",
            (SHOP, product, random.random() < 0.15, random.lognormvariate(0, SPREAD)),
        )
        return cursor.fetchone()[0]


def create_app(settings: object) -> bottle.Bottle:
    """Return the store, with what is behind it."""
    app = make(settings)

    @app.hook("before_request")
    def ask() -> None:
        if bottle.request.path not in OPERATIONS and random.random() < behind() + MORE_ERRORS:
            raise bottle.HTTPResponse("broken", 500)

    @app.hook("after_request")
    def slower() -> None:
        if SLOWER > 1 and bottle.request.path not in OPERATIONS:
            started = bottle.request.environ["shop.started"]
            time.sleep((SLOWER - 1) * (time.perf_counter() - started))

    return app


web.create_app = create_app
runpy.run_module("store", run_name="__main__")
