import pytest

from store import carts
from store.errors import Invalid, Missing, NotNow


def test_a_new_cart_is_empty(connection):
    assert carts.find(connection, carts.create(connection).id).lines == ()


def test_the_quantity_replaces_what_was_there(connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "TEA-01", 2)
    assert carts.set_quantity(connection, cart, "TEA-01", 5).lines[0].quantity == 5


def test_quantity_zero_takes_the_product_out(connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "TEA-01", 2)
    assert carts.set_quantity(connection, cart, "TEA-01", 0).lines == ()


@pytest.mark.parametrize("quantity", [-1, 100, 1.5, "2", None, True])
def test_a_quantity_that_makes_no_sense_is_refused(connection, quantity):
    cart = carts.create(connection).id
    with pytest.raises(Invalid, match="whole number"):
        carts.set_quantity(connection, cart, "TEA-01", quantity)


def test_more_than_the_stock_is_refused(connection):
    cart = carts.create(connection).id
    with pytest.raises(NotNow, match="Only 25"):
        carts.set_quantity(connection, cart, "LAMP-03", 26)


def test_an_unknown_product_or_cart_is_missing(connection):
    with pytest.raises(Missing):
        carts.set_quantity(connection, carts.create(connection).id, "NOPE", 1)
    with pytest.raises(Missing):
        carts.find(connection, "nope")


def test_a_coupon_takes_its_part_off(shop, connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "BOOK-01", 3)
    cart = shop.set_option(connection, cart, "coupon", "welcome10")
    assert [a.amount for a in shop.quote(connection, cart).adjustments if a.code == "coupon"] == [-749]


def test_a_coupon_waits_for_its_minimum(shop, connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "TEA-01", 1)
    cart = shop.set_option(connection, cart, "coupon", "HOUSE15")
    assert shop.quote(connection, cart).adjustments == ()


def test_an_unknown_coupon_and_an_unknown_option_are_refused(shop, connection):
    cart = carts.create(connection).id
    with pytest.raises(Invalid, match="coupon"):
        shop.set_option(connection, cart, "coupon", "FREE")
    with pytest.raises(Invalid, match="no option"):
        shop.set_option(connection, cart, "colour", "blue")


def test_an_empty_value_takes_the_option_back(shop, connection):
    cart = carts.create(connection).id
    shop.set_option(connection, cart, "coupon", "WELCOME10")
    assert shop.set_option(connection, cart, "coupon", "").options == {}
