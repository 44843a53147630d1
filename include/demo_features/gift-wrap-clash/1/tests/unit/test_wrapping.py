import pytest

from store import carts
from store.errors import Invalid


def test_wrapping_is_charged_once(shop, connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "TEA-01", 3)
    before = shop.quote(connection, carts.find(connection, cart)).total
    assert shop.quote(connection, shop.set_option(connection, cart, "gift_wrap", "yes")).total == before + 395


def test_wrapping_is_yes_or_nothing(shop, connection):
    with pytest.raises(Invalid, match="yes"):
        shop.set_option(connection, carts.create(connection).id, "gift_wrap", "maybe")
