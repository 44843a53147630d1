"""What a cart costs: goods, adjustments, shipping, VAT, payments that were made already."""

from dataclasses import asdict, dataclass

from store import money

SHIPPING = 495
FREE_SHIPPING_FROM = 5000
STANDARD_VAT = 2100


@dataclass(frozen=True)
class Line:
    """Some pieces of one product at today's price."""

    sku: str
    name: str
    quantity: int
    unit_price: int
    vat_rate: int

    @property
    def total(self) -> int:
        return self.quantity * self.unit_price


@dataclass(frozen=True)
class Adjustment:
    """A discount (negative), an extra charge (positive), or a payment (negative)."""

    code: str
    label: str
    amount: int


@dataclass(frozen=True)
class Quote:
    """The bill. ``total`` includes VAT; ``due`` is what is left to pay."""

    lines: tuple[Line, ...]
    goods: int
    adjustments: tuple[Adjustment, ...]
    shipping: int
    total: int
    vat: dict[int, int]
    payments: tuple[Adjustment, ...] = ()

    @property
    def due(self) -> int:
        return self.total + sum(payment.amount for payment in self.payments)

    def as_json(self) -> dict:
        return {
            "lines": [asdict(line) | {"total": line.total} for line in self.lines],
            "goods": self.goods,
            "adjustments": [asdict(adjustment) for adjustment in self.adjustments],
            "shipping": self.shipping,
            "vat": {str(rate): amount for rate, amount in self.vat.items()},
            "total": self.total,
            "payments": [asdict(payment) for payment in self.payments],
            "due": self.due,
        }


def capped(adjustments: list[Adjustment], limit: int) -> tuple[Adjustment, ...]:
    """Cut what is taken off to at most ``limit``, in order; charges stay as they are."""
    kept = []
    for adjustment in adjustments:
        amount = max(adjustment.amount, -limit)
        limit += min(amount, 0)
        if amount:
            kept.append(Adjustment(adjustment.code, adjustment.label, amount))
    return tuple(kept)


def quote(lines: list[Line], adjustments: list[Adjustment]) -> Quote:
    """Add it all up. A discount lowers each rate's VAT by its share; charges and shipping carry the standard rate."""
    goods = sum(line.total for line in lines)
    kept = capped(adjustments, goods)
    discount = -sum(a.amount for a in kept if a.amount < 0)
    charges = sum(a.amount for a in kept if a.amount > 0)
    shipping = 0 if not lines or goods - discount >= FREE_SHIPPING_FROM else SHIPPING
    gross: dict[int, int] = {}
    for line, off in zip(lines, money.share(discount, [line.total for line in lines]), strict=True):
        gross[line.vat_rate] = gross.get(line.vat_rate, 0) + line.total - off
    if charges + shipping:
        gross[STANDARD_VAT] = gross.get(STANDARD_VAT, 0) + charges + shipping
    return Quote(
        lines=tuple(lines),
        goods=goods,
        adjustments=kept,
        shipping=shipping,
        total=goods - discount + charges + shipping,
        vat={rate: money.vat_included(amount, rate) for rate, amount in sorted(gross.items())},
    )
