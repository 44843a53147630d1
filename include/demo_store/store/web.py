"""The WSGI application: errors, measuring, health, metrics; the rest is in ``api`` and ``pages``."""

import json
import sqlite3
import sys
import time
import traceback

import bottle

from store import __version__, api, extensions, orders, pages
from store.config import Settings
from store.errors import ShopError
from store.shop import Shop

MAX_BODY = 64 * 1024


def create_app(settings: Settings) -> bottle.Bottle:
    """Build the shop with all its extensions."""
    shop = Shop(settings)
    shop.app.install(_Errors())
    _measure(shop)
    _operations(shop)
    api.register(shop)
    pages.register(shop)
    extensions.load(shop)
    return shop.app


def wants_json() -> bool:
    return bottle.request.path.startswith("/api/")


def failure(status: int, text: str) -> bottle.HTTPResponse:
    """Answer with an error, in the form the client understands."""
    if wants_json():
        body = json.dumps({"error": text})
        return bottle.HTTPResponse(body, status, headers={"Content-Type": "application/json"})
    return bottle.HTTPResponse(pages.error_page(status, text), status)


class _Errors:
    """A Bottle plugin: what the shop refuses becomes an answer, anything else a 500 with a trace in the log."""

    api = 2
    name = "errors"

    def apply(self, callback, route):
        def guarded(*args, **kwargs):
            try:
                return callback(*args, **kwargs)
            except bottle.HTTPResponse:
                raise
            except ShopError as error:
                return failure(error.status, str(error))
            except Exception:
                traceback.print_exc(file=sys.stderr)
                return failure(500, "Something went wrong on our side. Nothing was charged.")

        return guarded


def _measure(shop: Shop) -> None:
    @shop.app.hook("before_request")
    def start():
        bottle.request.environ["shop.started"] = time.perf_counter()
        if (bottle.request.content_length or 0) > MAX_BODY:
            raise failure(413, f"The request is too long: at most {MAX_BODY} bytes.")

    inner = shop.app.wsgi

    def wsgi(environ, start_response):
        def counted(status, headers, exc_info=None):
            route = environ.get("bottle.route")
            shop.metrics.observe(
                method=environ.get("REQUEST_METHOD", "") if route else "ANY",
                route=route.rule if route else "unknown",
                status=int(status[:3]),
                started=environ.get("shop.started", time.perf_counter()),
            )
            return start_response(status, headers, exc_info)

        return inner(environ, counted)

    shop.app.wsgi = wsgi
    shop.app.default_error_handler = lambda error: _plain_error(error)


def _plain_error(error: bottle.HTTPError):
    texts = {404: "There is no such page.", 405: "This address does not take that method."}
    response = failure(error.status_code, texts.get(error.status_code, "The request could not be answered."))
    bottle.response.content_type = response.headers.get("Content-Type", "text/html; charset=UTF-8")
    return response.body


def _operations(shop: Shop) -> None:
    @shop.app.get("/healthz")
    def healthz():
        facts = {
            "version": __version__,
            "commit": shop.settings.commit,
            "environment": shop.settings.environment,
        }
        try:
            with shop.reading() as db:
                facts["products"] = db.execute("SELECT count(*) FROM products").fetchone()[0]
        except sqlite3.Error as error:
            bottle.response.status = 503
            return {"status": "unhealthy", "database": str(error)} | facts
        return {"status": "ok", "database": "ok"} | facts

    @shop.app.get("/metrics")
    def metrics():
        with shop.reading() as db:
            body, content_type = shop.metrics.text(orders.counts(db))
        return bottle.HTTPResponse(body, headers={"Content-Type": content_type})
