import pytest

from store.loyalty.providers import provider_for


@pytest.mark.parametrize(
    ("environment", "environ", "state"),
    [("preprod", {}, "booked"), ("production", {}, "pending"), ("production", {"LOYALTY_PARTNER_KEY": "k"}, "booked")],
)
def test_points_are_kept_whatever_the_partner_does(connection, environment, environ, state):
    provider_for(environment, environ).book(connection, email="a@b.c", order_number=1, points=5)
    assert connection.execute("SELECT state FROM loyalty_points").fetchone()[0] == state
