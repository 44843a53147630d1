import random

import pytest

from store import money


@pytest.mark.parametrize(
    ("amount", "rate", "expected"), [(1000, 1000, 100), (1295, 1000, 130), (1294, 1000, 129), (5, 1000, 1), (0, 2100, 0)]
)
def test_a_percentage_rounds_half_a_cent_up(amount, rate, expected):
    assert money.percent_of(amount, rate) == expected


@pytest.mark.parametrize(("gross", "rate", "expected"), [(12100, 2100, 2100), (109, 900, 9), (7450, 2100, 1293), (500, 0, 0)])
def test_vat_is_taken_out_of_the_gross_price(gross, rate, expected):
    assert money.vat_included(gross, rate) == expected


def test_shares_add_up_to_the_whole_whatever_the_weights():
    dice = random.Random(7)
    for _ in range(500):
        weights = [dice.randrange(0, 9999) for _ in range(dice.randrange(1, 8))]
        amount = dice.randrange(0, 99999) if sum(weights) else 0
        assert sum(money.share(amount, weights)) == amount


def test_equal_weights_share_the_odd_cent_in_order():
    assert money.share(100, [1, 1, 1]) == [34, 33, 33]


@pytest.mark.parametrize(("amount", "text"), [(1295, "€ 12.95"), (5, "€ 0.05"), (-130, "-€ 1.30"), (123456789, "€ 1,234,567.89")])
def test_amounts_read_as_people_write_them(amount, text):
    assert money.text(amount) == text
