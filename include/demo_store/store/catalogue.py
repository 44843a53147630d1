"""The products."""

import sqlite3

from store.errors import Missing


def products(db: sqlite3.Connection, category: str | None = None) -> list[dict]:
    """Return the products, all or of one category."""
    rows = db.execute(
        "SELECT * FROM products WHERE ?1 IS NULL OR category = ?1 ORDER BY category, name", (category,)
    )
    return [dict(row) for row in rows]


def product(db: sqlite3.Connection, sku: str) -> dict:
    """Return one product, or raise ``Missing``."""
    row = db.execute("SELECT * FROM products WHERE sku = ?", (sku,)).fetchone()
    if row is None:
        raise Missing(f"There is no product {sku!r}.")
    return dict(row)


def categories(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT DISTINCT category FROM products ORDER BY category")]
