"""The front page tells of wish lists."""


def register(shop) -> None:
    shop.blocks.setdefault("front", []).append(lambda _db, _context: "<p>New: keep a wish list, and give it away.</p>")
