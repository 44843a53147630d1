import pytest

from store import carts
from store.errors import Invalid, NotNow

ADA = {"email": "ada@example.org", "name": "Ada", "address": "Analytical Way 1"}


@pytest.fixture
def cart(shop, connection):
    """A cart of 62.85 that a card of 25.00 pays a part of."""
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "BOOK-01", 2)
    carts.set_quantity(connection, cart, "LINEN-01", 1)
    return shop.set_option(connection, cart, "gift_card", "gift-2500")


def balance(connection):
    return connection.execute("SELECT balance FROM gift_cards WHERE code = 'GIFT-2500'").fetchone()[0]


def test_a_card_pays_a_part_and_vat_stays(shop, connection, cart):
    quote = shop.quote(connection, cart)
    assert (quote.total, quote.due) == (6285, 3785)
    assert quote.vat == shop.quote(connection, carts.set_option(connection, cart.id, "gift_card", "")).vat


def test_a_card_never_pays_more_than_the_bill(shop, connection, cart):
    cart = shop.set_option(connection, cart.id, "gift_card", "GIFT-9900")
    assert shop.quote(connection, cart).due == 0


def test_the_order_takes_the_money_and_the_cancellation_gives_it_back(shop, connection, cart):
    order = shop.check_out(connection, cart.id, ADA)
    assert balance(connection) == 0
    shop.cancel(connection, order["number"], order["token"])
    shop.cancel(connection, order["number"], order["token"])
    assert balance(connection) == 2500


def test_a_card_that_cannot_pay_what_was_shown_stops_the_order(shop, connection, cart):
    from store.extensions import gift_cards

    order = {"number": 1, "quote": {"payments": [{"code": "gift-card", "amount": -2501}]}}
    with pytest.raises(NotNow, match="meanwhile"):
        gift_cards.redeem(connection, order, cart)


def test_an_unknown_card_is_refused(shop, connection, cart):
    with pytest.raises(Invalid, match="gift card"):
        shop.set_option(connection, cart.id, "gift_card", "NOPE")
