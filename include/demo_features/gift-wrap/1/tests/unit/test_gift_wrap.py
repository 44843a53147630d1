from store import carts
from store.extensions import gift_wrap


def test_each_piece_is_charged(shop, connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "TEA-01", 3)
    carts.set_quantity(connection, cart, "BOOK-01", 1)
    connection.execute("INSERT INTO wrapped_carts VALUES (?)", (cart,))
    found = carts.find(connection, cart)
    assert found.pieces == 4
    assert [a.amount for a in gift_wrap.charge(connection, found)] == [1000]


def test_a_cart_is_not_wrapped_unasked(connection):
    assert gift_wrap.charge(connection, carts.create(connection)) == []
