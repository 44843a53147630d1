"""Amounts of money are integers in minor units (cents); rates are integers in basis points (2100 is 21 %)."""


def percent_of(amount: int, rate: int) -> int:
    """Return ``rate`` of ``amount``, half a cent rounded up."""
    return (2 * amount * rate + 10_000) // 20_000


def vat_included(gross: int, rate: int) -> int:
    """Return the VAT inside a price that includes it."""
    whole = 10_000 + rate
    return (2 * gross * rate + whole) // (2 * whole)


def share(amount: int, weights: list[int]) -> list[int]:
    """Split ``amount`` in proportion to ``weights``; the parts add up to exactly ``amount``."""
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    parts = [amount * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount * weights[i] % total), i))
    for index in by_remainder[: amount - sum(parts)]:
        parts[index] += 1
    return parts


def text(amount: int) -> str:
    """Return ``amount`` as people read it: ``€ 12.95``."""
    sign = "-" if amount < 0 else ""
    return f"{sign}€ {abs(amount) // 100:,}.{abs(amount) % 100:02d}"
