"""Features that plug into the shop. Every module here is loaded at start and has ``register(shop)``.

An extension adds what it needs to the lists of ``store.shop.Shop`` and routes to ``shop.app``; the rest of the
shop does not know it.
"""

import importlib
import pkgutil


def load(shop) -> list[str]:
    """Register every extension, by name; return the names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    for name in names:
        importlib.import_module(f"{__name__}.{name}").register(shop)
    return names
