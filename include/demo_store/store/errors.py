"""What the shop refuses, as the customer is told."""


class ShopError(Exception):
    """Base: ``str(error)`` is shown to the customer, ``status`` is the HTTP status."""

    status = 400


class Invalid(ShopError):
    """The request makes no sense as it is."""

    status = 422


class Missing(ShopError):
    """There is no such thing."""

    status = 404


class NotNow(ShopError):
    """It made sense, but the state of the shop does not allow it."""

    status = 409
