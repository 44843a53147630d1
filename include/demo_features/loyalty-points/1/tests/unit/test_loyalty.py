import pytest

from store import carts
from store.loyalty import points_for

ADA = {"email": "ada@example.org", "name": "Ada", "address": "Analytical Way 1"}


@pytest.mark.parametrize(("total", "points"), [(0, 0), (99, 0), (100, 1), (4285, 42), (-5, 0)])
def test_every_whole_euro_is_a_point(total, points):
    assert points_for(total) == points


def test_points_come_and_go_with_the_order(shop, connection):
    cart = carts.create(connection).id
    carts.set_quantity(connection, cart, "LAMP-02", 2)
    order = shop.check_out(connection, cart, ADA)
    assert order["loyalty"] == {"points": 42, "state": "booked"}
    shop.cancel(connection, order["number"], order["token"])
    assert connection.execute("SELECT count(*) FROM loyalty_points").fetchone()[0] == 0
