"""Loyalty points in the shop: booked with the order, shown with it, taken back with it."""

from store.loyalty import points_for
from store.loyalty.providers import provider_for


def register(shop) -> None:
    provider = provider_for(shop.settings.environment)

    def book(db, order, _cart) -> None:
        points = points_for(order["quote"]["total"])
        provider.book(db, email=order["email"], order_number=order["number"], points=points)

    shop.order_placed.append(book)
    shop.order_cancelled.append(take_back)
    shop.order_details.append(details)
    shop.blocks.setdefault("order", []).append(order_block)


def take_back(db, order, _cart) -> None:
    db.execute("DELETE FROM loyalty_points WHERE order_number = ?", (order["number"],))


def details(db, order) -> dict:
    row = db.execute("SELECT points, state FROM loyalty_points WHERE order_number = ?", (order["number"],)).fetchone()
    return {"loyalty": {"points": row["points"] if row else 0, "state": row["state"] if row else "none"}}


def order_block(_db, context) -> str:
    return f"<p>This order is worth <strong>{context['order']['loyalty']['points']} points</strong>.</p>"
