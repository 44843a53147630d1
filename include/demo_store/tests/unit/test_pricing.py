from store.pricing import FREE_SHIPPING_FROM, SHIPPING, Adjustment, Line, capped, quote

LAMP = Line("LAMP", "Lamp", 1, 4000, 2100)
BOOK = Line("BOOK", "Book", 2, 1000, 900)


def test_an_empty_cart_costs_nothing_not_even_shipping():
    assert quote([], []).total == 0


def test_shipping_is_added_below_the_limit():
    assert quote([LAMP], []).total == 4000 + SHIPPING


def test_shipping_is_free_from_the_limit_on():
    assert quote([Line("X", "X", 1, FREE_SHIPPING_FROM, 2100)], []).shipping == 0


def test_a_discount_can_bring_shipping_back():
    bill = quote([LAMP, BOOK], [Adjustment("c", "c", -2000)])
    assert (bill.shipping, bill.total) == (SHIPPING, 4000 + SHIPPING)


def test_vat_is_shown_per_rate_and_follows_the_discount():
    bill = quote([LAMP, BOOK], [Adjustment("c", "c", -600)])
    assert bill.vat == {900: round(1800 * 9 / 109), 2100: round(3600 * 21 / 121)}


def test_a_charge_carries_the_standard_rate():
    assert quote([Line("B", "B", 1, 6000, 900)], [Adjustment("x", "x", 121)]).vat[2100] == 21


def test_a_discount_never_pays_money_out():
    bill = quote([LAMP], [Adjustment("a", "a", -3000), Adjustment("b", "b", -3000)])
    assert [a.amount for a in bill.adjustments] == [-3000, -1000]
    assert bill.total == SHIPPING


def test_charges_do_not_raise_what_may_be_taken_off():
    assert [a.amount for a in capped([Adjustment("x", "x", 500), Adjustment("y", "y", -900)], 100)] == [500, -100]


def test_the_bill_adds_up():
    bill = quote([LAMP, BOOK], [Adjustment("c", "c", -700), Adjustment("w", "w", 250)])
    assert bill.goods + sum(a.amount for a in bill.adjustments) + bill.shipping == bill.total == bill.due
