"""Gift wrapping: a charge for each piece of the cart."""

import bottle

from store import carts
from store.pricing import Adjustment

PRICE = 250


def register(shop) -> None:
    shop.price_rules.append(charge)
    shop.blocks.setdefault("cart", []).append(cart_block)

    @shop.app.put("/api/carts/<cart_id>/gift-wrap")
    def wrap(cart_id):
        return change(cart_id, "INSERT OR IGNORE INTO wrapped_carts (cart_id) VALUES (?)")

    @shop.app.delete("/api/carts/<cart_id>/gift-wrap")
    def unwrap(cart_id):
        return change(cart_id, "DELETE FROM wrapped_carts WHERE cart_id = ?")

    @shop.app.post("/cart/gift-wrap")
    def change_on_page():
        if bottle.request.forms.get("wrap"):
            wrap(bottle.request.get_cookie("cart") or "")
        else:
            unwrap(bottle.request.get_cookie("cart") or "")
        bottle.response.status = 303
        bottle.response.set_header("Location", "/cart")
        return ""

    def change(cart_id, statement):
        with shop.writing() as db:
            cart = carts.find(db, cart_id)
            db.execute(statement, (cart.id,))
            return {"id": cart.id} | shop.quote(db, cart).as_json()


def wrapped(db, cart) -> bool:
    return db.execute("SELECT 1 FROM wrapped_carts WHERE cart_id = ?", (cart.id,)).fetchone() is not None


def charge(db, cart) -> list[Adjustment]:
    if not wrapped(db, cart):
        return []
    return [Adjustment("gift-wrap", f"Gift wrapping, {cart.pieces} pieces", PRICE * cart.pieces)]


def cart_block(db, context) -> str:
    word, value = ("Do not wrap", "") if wrapped(db, context["cart"]) else ("Wrap it all, € 2.50 a piece", "yes")
    return (
        '<form method="post" action="/cart/gift-wrap" class="inline">'
        f'<input type="hidden" name="wrap" value="{value}"><button class="quiet">{word}</button></form>'
    )
