from django.db import models


class Wrapping(models.Model):
    """A paper in which things are wrapped, ``price_cents`` each."""

    name = models.CharField(max_length=80, unique=True)
    price_cents = models.PositiveIntegerField()

    def total_cents(self, pieces: int) -> int:
        """Return what wrapping so many pieces costs."""
        return self.price_cents * pieces
