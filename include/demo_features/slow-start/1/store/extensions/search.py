"""Search: products by the words of their name and description."""

import os
import re

import bottle

from store import catalogue
from store.config import ConfigurationError


def register(shop) -> None:
    if shop.settings.environment == "production" and not os.environ.get("SEARCH_INDEX_DIR"):
        raise ConfigurationError("SEARCH_INDEX_DIR is not set. Name the directory that the nightly job fills.")

    @shop.app.get("/api/search")
    def search():
        with shop.reading() as db:
            return {"products": find(catalogue.products(db), bottle.request.query.getunicode("q", ""))}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def find(products: list[dict], query: str) -> list[dict]:
    """Return the products that have every word of the query."""
    wanted = words(query)
    return [p for p in products if wanted and wanted <= words(f"{p['name']} {p['description']} {p['category']}")]
