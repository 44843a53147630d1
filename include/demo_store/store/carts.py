"""Carts: what a customer is about to buy."""

import json
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime

from store import catalogue, money, pricing
from store.errors import Invalid, Missing, NotNow

# What a customer may set on a cart besides its items.
OPTIONS = ("coupon",)

MAX_QUANTITY = 99


@dataclass(frozen=True)
class Cart:
    id: str
    lines: tuple[pricing.Line, ...]
    options: dict[str, str]

    @property
    def goods(self) -> int:
        return sum(line.total for line in self.lines)


def create(db: sqlite3.Connection) -> Cart:
    cart_id = secrets.token_urlsafe(16)
    db.execute("INSERT INTO carts (id, created_at) VALUES (?, ?)", (cart_id, datetime.now(UTC).isoformat()))
    return Cart(id=cart_id, lines=(), options={})


def find(db: sqlite3.Connection, cart_id: str) -> Cart:
    """Return a cart at today's prices, or raise ``Missing``."""
    row = db.execute("SELECT options FROM carts WHERE id = ?", (cart_id,)).fetchone()
    if row is None:
        raise Missing("There is no such cart, or its order was placed already.")
    items = db.execute(
        "SELECT p.sku, p.name, i.quantity, p.price, p.vat_rate FROM cart_items i JOIN products p USING (sku)"
        " WHERE i.cart_id = ? ORDER BY p.name",
        (cart_id,),
    )
    return Cart(id=cart_id, lines=tuple(pricing.Line(*item) for item in items), options=json.loads(row["options"]))


def set_quantity(db: sqlite3.Connection, cart_id: str, sku: str, quantity: object) -> Cart:
    """Put ``quantity`` pieces of a product into the cart; 0 takes it out."""
    find(db, cart_id)
    product = catalogue.product(db, sku)
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 <= quantity <= MAX_QUANTITY:
        raise Invalid(f"The quantity must be a whole number from 0 to {MAX_QUANTITY}.")
    if quantity > product["stock"]:
        raise NotNow(f"Only {product['stock']} of {product['name']} are left.")
    if quantity:
        db.execute(
            "INSERT INTO cart_items (cart_id, sku, quantity) VALUES (?, ?, ?)"
            " ON CONFLICT (cart_id, sku) DO UPDATE SET quantity = excluded.quantity",
            (cart_id, sku, quantity),
        )
    else:
        db.execute("DELETE FROM cart_items WHERE cart_id = ? AND sku = ?", (cart_id, sku))
    return find(db, cart_id)


def set_option(db: sqlite3.Connection, cart_id: str, name: str, value: object) -> Cart:
    """Set one of ``OPTIONS``; an empty value takes it back."""
    cart = find(db, cart_id)
    if name not in OPTIONS:
        raise Invalid(f"A cart has no option {name!r}.")
    if not isinstance(value, str) or len(value) > 40:
        raise Invalid(f"The value of {name} must be a text of at most 40 characters.")
    options = cart.options | {name: value.strip()}
    kept = {key: text for key, text in options.items() if text}
    db.execute("UPDATE carts SET options = ? WHERE id = ?", (json.dumps(kept), cart_id))
    return find(db, cart_id)


def remove(db: sqlite3.Connection, cart_id: str) -> None:
    """Forget the cart; forgotten already is done."""
    db.execute("DELETE FROM carts WHERE id = ?", (cart_id,))


def coupon(db: sqlite3.Connection, code: str) -> sqlite3.Row:
    """Return a coupon, or raise ``Invalid``."""
    row = db.execute("SELECT * FROM coupons WHERE code = ?", (code.upper(),)).fetchone()
    if row is None:
        raise Invalid(f"We know no coupon {code!r}.")
    return row


def coupon_discount(db: sqlite3.Connection, cart: Cart) -> list[pricing.Adjustment]:
    """The price rule of coupons: a part of the goods, from a minimum on."""
    if not cart.options.get("coupon"):
        return []
    found = coupon(db, cart.options["coupon"])
    if cart.goods < found["minimum"]:
        return []
    return [pricing.Adjustment("coupon", found["label"], -money.percent_of(cart.goods, found["percent"]))]
