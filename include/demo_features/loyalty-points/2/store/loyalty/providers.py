"""Who keeps the points: the shop itself, or in production the partner."""

import os


class LocalProvider:
    """The shop's own database."""

    state = "booked"

    def book(self, db, *, email: str, order_number: int, points: int) -> None:
        db.execute(
            "INSERT INTO loyalty_points (email, order_number, points, state) VALUES (?, ?, ?, ?)",
            (email, order_number, points, self.state),
        )


class PartnerProvider(LocalProvider):
    """The partner that keeps the points of all shops; what it has not taken yet is pending, and no order waits."""

    def __init__(self, key: str | None) -> None:
        self.state = "booked" if key else "pending"


def provider_for(environment: str, environ=os.environ) -> LocalProvider:
    """Return the provider of an environment: only production may talk to the partner."""
    if environment == "production":
        return PartnerProvider(environ.get("LOYALTY_PARTNER_KEY"))
    return LocalProvider()
