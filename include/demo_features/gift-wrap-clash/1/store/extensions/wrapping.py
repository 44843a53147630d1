"""Wrapping of a whole order, as an option of its cart."""

from store.errors import Invalid
from store.pricing import Adjustment

PRICE = 395


def register(shop) -> None:
    shop.option_checks["gift_wrap"] = check
    shop.price_rules.append(charge)


def check(_db, value: str) -> None:
    if value != "yes":
        raise Invalid("Wrapping is 'yes' or left empty.")


def charge(_db, cart) -> list[Adjustment]:
    return [Adjustment("wrapping", "Wrapping", PRICE)] if cart.options.get("gift_wrap") and cart.lines else []
