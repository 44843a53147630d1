"""Orders: from checkout to cancellation."""

import json
import re
import secrets
import sqlite3
from datetime import UTC, datetime

from store import carts
from store.errors import Invalid, Missing, NotNow
from store.pricing import Quote

# Orders of this domain are made by tests: they are counted apart and vanish when cancelled.
TEST_DOMAIN = "@shop-tests.invalid"


def kind_of(email: str) -> str:
    return "test" if email.endswith(TEST_DOMAIN) else "customer"


def _contact(details: dict) -> dict[str, str]:
    contact = {}
    for field in ("email", "name", "address"):
        value = details.get(field)
        if not isinstance(value, str) or not value.strip() or len(value) > 200:
            raise Invalid(f"Please fill in {field} (at most 200 characters).")
        contact[field] = value.strip()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", contact["email"]):
        raise Invalid("Please give an e-mail address like ada@example.org.")
    return contact


def place(db: sqlite3.Connection, cart: carts.Cart, quote: Quote, details: dict) -> dict:
    """Turn a cart into an order: take the goods from stock, keep the bill as it was shown."""
    contact = _contact(details)
    if not cart.lines:
        raise Invalid("The cart is empty.")
    for line in cart.lines:
        taken = db.execute(
            "UPDATE products SET stock = stock - ?1 WHERE sku = ?2 AND stock >= ?1", (line.quantity, line.sku)
        )
        if taken.rowcount == 0:
            raise NotNow(f"{line.name} has just been sold out. Take it from the cart or order fewer.")
    kind = kind_of(contact["email"])
    token = secrets.token_urlsafe(16)
    inserted = db.execute(
        "INSERT INTO orders (token, kind, status, email, name, address, quote, created_at)"
        " VALUES (?, ?, 'placed', ?, ?, ?, ?, ?)",
        (token, kind, *contact.values(), json.dumps(quote.as_json()), datetime.now(UTC).isoformat()),
    )
    carts.remove(db, cart.id)
    return find(db, inserted.lastrowid, token)


def find(db: sqlite3.Connection, number: int, token: str) -> dict:
    """Return an order to whoever has its token, or raise ``Missing``."""
    row = db.execute("SELECT * FROM orders WHERE number = ?", (min(number, 2**63 - 1),)).fetchone()
    if row is None or not secrets.compare_digest(row["token"].encode(), token.encode()):
        raise Missing("There is no such order.")
    return dict(row) | {"quote": json.loads(row["quote"])}


def cancel(db: sqlite3.Connection, order: dict) -> None:
    """Give the goods back to stock. An order made by a test is removed, any other is kept as cancelled."""
    if order["status"] == "placed":
        for line in order["quote"]["lines"]:
            db.execute("UPDATE products SET stock = stock + ? WHERE sku = ?", (line["quantity"], line["sku"]))
    if order["kind"] == "test":
        db.execute("DELETE FROM orders WHERE number = ?", (order["number"],))
    else:
        db.execute("UPDATE orders SET status = 'cancelled' WHERE number = ?", (order["number"],))


def counts(db: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Return (kind, status, how many) for the metrics."""
    rows = db.execute("SELECT kind, status, count(*) FROM orders GROUP BY kind, status")
    return [tuple(row) for row in rows]
