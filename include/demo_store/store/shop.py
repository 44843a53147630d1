"""The shop in one place: settings, database, and the points where extensions plug in."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import bottle

from store import carts, db, orders, pricing
from store.config import Settings
from store.metrics import Metrics

PriceRule = Callable[[sqlite3.Connection, carts.Cart], list[pricing.Adjustment]]
Payment = Callable[[sqlite3.Connection, carts.Cart, int], list[pricing.Adjustment]]
OptionCheck = Callable[[sqlite3.Connection, str], object]
OrderHook = Callable[[sqlite3.Connection, dict, carts.Cart | None], None]
Block = Callable[[sqlite3.Connection, dict], str]


class Shop:
    """What pages, API and extensions share.

    Extension points:
        price_rules: take money off the goods, or add to it.
        payments: pay a part of the total (last argument) before the customer does.
        option_checks: per cart option, raise ``Invalid`` for a value that cannot be.
        order_placed, order_cancelled: run in the transaction of the order; an exception stops it.
        order_details: add to what an order shows (a dict each).
        blocks: per place (``front``, ``product``, ``cart``, ``order``), HTML to show there.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = bottle.Bottle()
        self.metrics = Metrics(settings)
        self.price_rules: list[PriceRule] = [carts.coupon_discount]
        self.payments: list[Payment] = []
        self.option_checks: dict[str, OptionCheck] = {"coupon": carts.coupon}
        self.order_placed: list[OrderHook] = []
        self.order_cancelled: list[OrderHook] = []
        self.order_details: list[Callable[[sqlite3.Connection, dict], dict]] = []
        self.blocks: dict[str, list[Block]] = {}

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return db.reading(self.settings.database)

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        return db.writing(self.settings.database)

    def quote(self, connection: sqlite3.Connection, cart: carts.Cart) -> pricing.Quote:
        """Price a cart with every rule and payment that is registered."""
        adjustments = [a for rule in self.price_rules for a in rule(connection, cart)]
        bill = pricing.quote(list(cart.lines), adjustments)
        paid: list[pricing.Adjustment] = []
        for payment in self.payments:
            paid += payment(connection, cart, bill.total + sum(p.amount for p in paid))
        return replace(bill, payments=pricing.capped(paid, bill.total))

    def set_option(self, connection: sqlite3.Connection, cart_id: str, name: str, value: object) -> carts.Cart:
        """Set an option of a cart, after the check that is registered for it."""
        cart = carts.set_option(connection, cart_id, name, value)
        if name in cart.options and name in self.option_checks:
            self.option_checks[name](connection, cart.options[name])
        return cart

    def check_out(self, connection: sqlite3.Connection, cart_id: str, details: dict) -> dict:
        """Place the order of a cart."""
        cart = carts.find(connection, cart_id)
        order = orders.place(connection, cart, self.quote(connection, cart), details)
        for hook in self.order_placed:
            hook(connection, order, cart)
        return self.shown(connection, order)

    def cancel(self, connection: sqlite3.Connection, number: int, token: str) -> None:
        """Cancel an order; cancelled already is done."""
        order = orders.find(connection, number, token)
        if order["status"] == "placed":
            for hook in self.order_cancelled:
                hook(connection, order, None)
        orders.cancel(connection, order)

    def shown(self, connection: sqlite3.Connection, order: dict) -> dict:
        """Return what a customer sees of an order."""
        fields = ("number", "token", "status", "email", "name", "address", "created_at")
        shown = {name: order[name] for name in fields} | order["quote"]
        for details in self.order_details:
            shown |= details(connection, order)
        return shown

    def block(self, connection: sqlite3.Connection, place: str, context: dict) -> str:
        """Return the HTML that extensions show at ``place``."""
        return "".join(block(connection, context) for block in self.blocks.get(place, []))
