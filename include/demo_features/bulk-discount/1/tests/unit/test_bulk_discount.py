import pytest

from store.carts import Cart
from store.extensions.bulk_discount import discount
from store.pricing import Line


def amounts(quantity, price):
    return [a.amount for a in discount(None, Cart("c", (Line("X", "X", quantity, price, 2100),), {}))]


@pytest.mark.parametrize(("quantity", "price", "expected"), [(4, 1000, []), (5, 1000, [-500]), (10, 2000, [-2000])])
def test_five_pieces_or_more_are_cheaper(quantity, price, expected):
    assert amounts(quantity, price) == expected
