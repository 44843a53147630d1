"""Ten percent off a product from five pieces on."""

from store import money
from store.pricing import Adjustment

PIECES = 5


def register(shop) -> None:
    shop.price_rules.append(discount)
    shop.blocks.setdefault("product", []).append(lambda _db, _context: "<p><small>10 % off from 5 pieces.</small></p>")


def discount(_db, cart) -> list[Adjustment]:
    return [
        Adjustment("bulk", f"10 % off {line.quantity} × {line.name}", -money.percent_of(line.total, 1000))
        for line in cart.lines
        if line.quantity >= PIECES
    ]
