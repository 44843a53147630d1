import pytest

from store import carts, catalogue, orders
from store.errors import Invalid, Missing, NotNow

ADA = {"email": "ada@example.org", "name": "Ada", "address": "Analytical Way 1"}
TESTER = ADA | {"email": f"unit{orders.TEST_DOMAIN}"}


def cart_with(connection, sku="LAMP-02", quantity=2):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, sku, quantity)
    return cart


def stock(connection, sku="LAMP-02"):
    return catalogue.product(connection, sku)["stock"]


def test_an_order_takes_the_goods_from_stock_and_ends_the_cart(shop, connection):
    cart = cart_with(connection)
    before = stock(connection)
    order = shop.check_out(connection, cart, ADA)
    assert order["total"] == 2 * 1895 + 495
    assert stock(connection) == before - 2
    with pytest.raises(Missing):
        carts.find(connection, cart)


def test_an_empty_cart_cannot_be_ordered(shop, connection):
    with pytest.raises(Invalid, match="empty"):
        shop.check_out(connection, carts.create(connection).id, ADA)


@pytest.mark.parametrize("wrong", [{"email": "ada"}, {"name": " "}, {"address": None}, {"name": "x" * 201}])
def test_contact_details_are_checked(shop, connection, wrong):
    with pytest.raises(Invalid):
        shop.check_out(connection, cart_with(connection), ADA | wrong)


def test_goods_that_sold_out_meanwhile_are_refused_by_name(shop, connection):
    cart = cart_with(connection)
    connection.execute("UPDATE products SET stock = 1 WHERE sku = 'LAMP-02'")
    with pytest.raises(NotNow, match="Paper lantern"):
        shop.check_out(connection, cart, ADA)


def test_the_price_of_an_order_does_not_follow_the_catalogue(shop, connection):
    order = shop.check_out(connection, cart_with(connection), ADA)
    connection.execute("UPDATE products SET price = 1")
    assert shop.shown(connection, orders.find(connection, order["number"], order["token"]))["total"] == order["total"]


def test_an_order_is_shown_only_to_who_has_its_token(shop, connection):
    order = shop.check_out(connection, cart_with(connection), ADA)
    for token in ("", "nope", "ü"):
        with pytest.raises(Missing):
            orders.find(connection, order["number"], token)


def test_a_cancelled_order_gives_the_goods_back_once(shop, connection):
    before = stock(connection)
    order = shop.check_out(connection, cart_with(connection), ADA)
    shop.cancel(connection, order["number"], order["token"])
    shop.cancel(connection, order["number"], order["token"])
    assert stock(connection) == before
    assert orders.counts(connection) == [("customer", "cancelled", 1)]


def test_a_cancelled_order_of_a_test_leaves_nothing(shop, connection):
    order = shop.check_out(connection, cart_with(connection), TESTER)
    shop.cancel(connection, order["number"], order["token"])
    assert orders.counts(connection) == []
