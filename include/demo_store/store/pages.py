"""The pages that people see."""

from pathlib import Path

import bottle

from store import __version__, carts, catalogue, money, orders
from store.errors import Missing, ShopError
from store.shop import Shop

COOKIE = "cart"
HERE = Path(__file__).parent
# One list for good: Bottle keeps compiled templates by the identity of their lookup.
LOOKUP = [str(HERE / "templates")]


def render(template: str, **values) -> str:
    """Fill a template. ``{{value}}`` is escaped, ``{{!value}}`` is HTML already."""
    return bottle.template(template, template_lookup=LOOKUP, **values)


def error_page(status: int, text: str) -> str:
    return render("error", title="Sorry", status=status, text=text)


def _cart_of_customer(db) -> carts.Cart | None:
    try:
        return carts.find(db, bottle.request.get_cookie(COOKIE) or "")
    except Missing:
        return None


def register(shop: Shop) -> None:
    bottle.SimpleTemplate.defaults.update(
        settings=shop.settings, version=__version__, money=money.text, percent=lambda rate: f"{rate / 100:g} %"
    )
    _catalogue(shop)
    _cart(shop)
    _checkout(shop)

    @shop.app.get("/static/<name>")
    def static(name):
        return bottle.static_file(name, root=str(HERE / "static"))


def _catalogue(shop: Shop) -> None:
    @shop.app.get("/")
    def front():
        with shop.reading() as db:
            products = sorted(catalogue.products(db), key=lambda product: product["stock"])[:3]
            return render("front", title="Welcome", products=products, block=shop.block(db, "front", {}))

    @shop.app.get("/catalogue")
    def list_products():
        chosen = bottle.request.query.get("category") or None
        with shop.reading() as db:
            return render(
                "catalogue", title=chosen or "Everything", chosen=chosen,
                categories=catalogue.categories(db), products=catalogue.products(db, chosen),
            )

    @shop.app.get("/products/<sku>")
    def show_product(sku):
        with shop.reading() as db:
            product = catalogue.product(db, sku)
            block = shop.block(db, "product", {"product": product})
            return render("product", title=product["name"], product=product, block=block)


def _cart(shop: Shop) -> None:
    def page(db, cart, note=""):
        quote = shop.quote(db, cart) if cart else None
        block = shop.block(db, "cart", {"cart": cart, "quote": quote}) if cart else ""
        return render("cart", title="Your cart", cart=cart, quote=quote, note=note, block=block)

    @shop.app.get("/cart")
    def show_cart():
        with shop.reading() as db:
            return page(db, _cart_of_customer(db))

    @shop.app.post("/cart")
    def change_cart():
        form = bottle.request.forms
        try:
            with shop.writing() as db:
                cart = _cart_of_customer(db) or carts.create(db)
                if sku := form.get("sku"):
                    held = {line.sku: line.quantity for line in cart.lines}
                    wanted = form.get("quantity", "")
                    quantity = int(wanted) if wanted.isdecimal() else None
                    if form.get("add") and quantity is not None:
                        quantity += held.get(sku, 0)
                    carts.set_quantity(db, cart.id, sku, quantity)
                for name in carts.OPTIONS:
                    if (value := form.getunicode(name)) is not None:
                        shop.set_option(db, cart.id, name, value)
        except ShopError as error:
            bottle.response.status = error.status
            with shop.reading() as db:
                return page(db, _cart_of_customer(db), str(error))
        bottle.response.set_cookie(COOKIE, cart.id, path="/", httponly=True, samesite="lax", max_age=30 * 86400)
        return _see("/cart")


def _see(path: str):
    """Send the browser on, so that reloading the page repeats nothing."""
    bottle.response.status = 303
    bottle.response.set_header("Location", path)
    return ""


def _checkout(shop: Shop) -> None:
    @shop.app.post("/checkout")
    def check_out():
        form = bottle.request.forms
        details = {name: form.getunicode(name) for name in ("email", "name", "address")}
        with shop.writing() as db:
            order = shop.check_out(db, bottle.request.get_cookie(COOKIE) or "", details)
        shop.metrics.order_placed(orders.kind_of(order["email"]), order["total"])
        return _see(f"/orders/{order['number']}?token={order['token']}")

    @shop.app.get("/orders/<number:int>")
    def show_order(number):
        with shop.reading() as db:
            order = shop.shown(db, orders.find(db, number, bottle.request.query.get("token", "")))
            return render("order", title=f"Order {number}", order=order, block=shop.block(db, "order", {"order": order}))
