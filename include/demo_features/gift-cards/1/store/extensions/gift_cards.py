"""Gift cards: a payment made before the customer pays the rest."""

from html import escape

from store import money
from store.errors import Invalid, Missing, NotNow
from store.pricing import Adjustment


def register(shop) -> None:
    shop.option_checks["gift_card"] = find
    shop.payments.append(payment)
    shop.order_placed.append(redeem)
    shop.order_cancelled.append(give_back)
    shop.blocks.setdefault("cart", []).append(cart_block)

    @shop.app.get("/api/gift-cards/<code>")
    def show(code):
        with shop.reading() as db:
            try:
                return {"code": code.upper(), "balance": find(db, code)["balance"]}
            except Invalid as error:
                raise Missing(str(error)) from None


def find(db, code: str):
    """Return a gift card, or raise ``Invalid``."""
    card = db.execute("SELECT * FROM gift_cards WHERE code = ?", (code.upper(),)).fetchone()
    if card is None:
        raise Invalid(f"We know no gift card {code!r}.")
    return card


def payment(db, cart, total: int) -> list[Adjustment]:
    """Pay what the card can, at most the bill."""
    if not cart.options.get("gift_card"):
        return []
    card = find(db, cart.options["gift_card"])
    return [Adjustment("gift-card", f"Gift card {card['code']}", -min(card["balance"], total))]


def redeem(db, order, cart) -> None:
    """Take from the card what it paid. The card may be empty by now: another order was faster."""
    for paid in _paid(order):
        code = cart.options["gift_card"].upper()
        taken = db.execute(
            "UPDATE gift_cards SET balance = balance + ?1 WHERE code = ?2 AND balance + ?1 >= 0", (paid["amount"], code)
        )
        if taken.rowcount == 0:
            raise NotNow("The gift card has been used meanwhile. Take it from the cart.")
        db.execute("INSERT INTO gift_card_payments (order_number, code, amount) VALUES (?, ?, ?)",
                   (order["number"], code, -paid["amount"]))


def give_back(db, order, _cart) -> None:
    for row in db.execute("SELECT * FROM gift_card_payments WHERE order_number = ?", (order["number"],)).fetchall():
        db.execute("UPDATE gift_cards SET balance = balance + ? WHERE code = ?", (row["amount"], row["code"]))
    db.execute("DELETE FROM gift_card_payments WHERE order_number = ?", (order["number"],))


def _paid(order) -> list[dict]:
    return [paid for paid in order["quote"]["payments"] if paid["code"] == "gift-card"]


def cart_block(db, context) -> str:
    code = context["cart"].options.get("gift_card", "")
    balance = f" <small>{money.text(find(db, code)['balance'])} on it</small>" if code else ""
    return (
        '<form method="post" action="/cart" class="inline"><label>Gift card '
        f'<input name="gift_card" value="{escape(code)}" maxlength="40"></label> '
        f'<button class="quiet">Apply</button>{balance}</form>'
    )
