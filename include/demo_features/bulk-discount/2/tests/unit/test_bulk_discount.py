import pytest

from store.carts import Cart
from store.extensions.bulk_discount import discount
from store.pricing import Line


def amounts(quantity, price):
    return [a.amount for a in discount(None, Cart("c", (Line("X", "X", quantity, price, 2100),), {}))]


@pytest.mark.parametrize(("quantity", "price", "expected"), [(4, 1000, []), (5, 1000, [-500]), (10, 2000, [-2000])])
def test_five_pieces_or_more_are_cheaper(quantity, price, expected):
    assert amounts(quantity, price) == expected


@pytest.mark.parametrize(("price", "expected"), [(1295, -648), (695, -348), (1, -1)])
def test_the_discount_is_rounded_to_the_cent(price, expected):
    assert amounts(5, price) == [expected]
