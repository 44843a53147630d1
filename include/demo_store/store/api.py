"""The JSON API under ``/api``."""

import json

import bottle

from store import carts, catalogue, orders
from store.errors import Invalid
from store.shop import Shop


def body() -> dict:
    """Return the request's JSON object, or raise ``Invalid``."""
    try:
        content = json.loads(bottle.request.body.read() or b"{}")
        # JSON can name halves of characters that no database can keep.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Invalid("The request must be JSON.") from None
    if not isinstance(content, dict):
        raise Invalid("The request must be a JSON object.")
    return content


def answer(content: dict, status: int = 200) -> dict:
    bottle.response.status = status
    return content


def _cart(shop: Shop, db, cart: carts.Cart) -> dict:
    return {"id": cart.id, "options": cart.options} | shop.quote(db, cart).as_json()


def register(shop: Shop) -> None:
    _catalogue(shop)
    _carts(shop)
    _orders(shop)


def _catalogue(shop: Shop) -> None:
    @shop.app.get("/api/products")
    def list_products():
        with shop.reading() as db:
            return {"products": catalogue.products(db, bottle.request.query.get("category"))}

    @shop.app.get("/api/products/<sku>")
    def show_product(sku):
        with shop.reading() as db:
            return catalogue.product(db, sku)


def _carts(shop: Shop) -> None:
    @shop.app.post("/api/carts")
    def create_cart():
        with shop.writing() as db:
            return answer(_cart(shop, db, carts.create(db)), 201)

    @shop.app.get("/api/carts/<cart_id>")
    def show_cart(cart_id):
        with shop.reading() as db:
            return _cart(shop, db, carts.find(db, cart_id))

    @shop.app.put("/api/carts/<cart_id>/items/<sku>")
    def set_item(cart_id, sku):
        with shop.writing() as db:
            return _cart(shop, db, carts.set_quantity(db, cart_id, sku, body().get("quantity")))

    @shop.app.route("/api/carts/<cart_id>", method="PATCH")
    def set_options(cart_id):
        options = body().get("options")
        if not isinstance(options, dict):
            raise Invalid("Please send the options as an object.")
        with shop.writing() as db:
            for name, value in options.items():
                shop.set_option(db, cart_id, name, value)
            return _cart(shop, db, carts.find(db, cart_id))

    @shop.app.delete("/api/carts/<cart_id>")
    def remove_cart(cart_id):
        with shop.writing() as db:
            carts.remove(db, cart_id)
        return answer({}, 200)


def _orders(shop: Shop) -> None:
    @shop.app.post("/api/checkout")
    def check_out():
        details = body()
        with shop.writing() as db:
            order = shop.check_out(db, str(details.get("cart", "")), details)
        shop.metrics.order_placed(orders.kind_of(order["email"]), order["total"])
        return answer(order, 201)

    @shop.app.get("/api/orders/<number:int>")
    def show_order(number):
        with shop.reading() as db:
            return shop.shown(db, orders.find(db, number, bottle.request.query.get("token", "")))

    @shop.app.delete("/api/orders/<number:int>")
    def cancel_order(number):
        with shop.writing() as db:
            shop.cancel(db, number, bottle.request.query.get("token", ""))
        return answer({}, 200)
