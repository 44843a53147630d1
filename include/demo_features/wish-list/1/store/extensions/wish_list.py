"""Wish lists: products to come back to."""

import secrets

from store import catalogue
from store.errors import Missing


def register(shop) -> None:
    @shop.app.post("/api/wish-lists")
    def create():
        name = secrets.token_urlsafe(12)
        with shop.writing() as db:
            db.execute("INSERT INTO wish_lists (id) VALUES (?)", (name,))
        return {"id": name, "products": []}

    @shop.app.get("/api/wish-lists/<name>")
    def show(name):
        with shop.reading() as db:
            return {"id": name, "products": wishes(db, name)}

    @shop.app.put("/api/wish-lists/<name>/<sku>")
    def add(name, sku):
        with shop.writing() as db:
            wishes(db, name)
            catalogue.product(db, sku)
            db.execute("INSERT OR IGNORE INTO wishes (list_id, sku) VALUES (?, ?)", (name, sku))
            return {"id": name, "products": wishes(db, name)}

    @shop.app.delete("/api/wish-lists/<name>")
    def remove(name):
        with shop.writing() as db:
            db.execute("DELETE FROM wish_lists WHERE id = ?", (name,))
        return {}


def wishes(db, name: str) -> list[str]:
    """Return the products of a list, or raise ``Missing``."""
    if db.execute("SELECT 1 FROM wish_lists WHERE id = ?", (name,)).fetchone() is None:
        raise Missing("There is no such wish list.")
    return [row[0] for row in db.execute("SELECT sku FROM wishes WHERE list_id = ? ORDER BY sku", (name,))]
