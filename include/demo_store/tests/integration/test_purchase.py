"""A whole purchase, as a test customer. Safe against production: what it orders it cancels, which removes it."""

import pytest


@pytest.fixture
def placed(customer):
    """Place orders through it; they are cancelled at the end, whatever happened."""
    orders = []

    def place(cart, **details):
        answer = customer.check_out(cart, **details)
        assert answer.status == 201, f"The checkout answered {answer.status}: {answer.text[:200]}"
        orders.append(answer.json)
        return answer.json

    yield place
    for order in orders:
        customer.cancel(order)


def test_a_customer_buys_two_things(customer, placed):
    cart = customer.new_cart(("LAMP-02", 2), ("TEA-01", 1))
    shown = customer.get(f"/api/carts/{cart}").json
    order = placed(cart)
    assert order["total"] == shown["total"] == 2 * 1895 + 695 + 495 + sum(a["amount"] for a in order["adjustments"])
    assert order["status"] == "placed"
    assert customer.get(f"/api/orders/{order['number']}?token={order['token']}").json == order


def test_the_cart_is_gone_after_the_purchase_and_cannot_be_ordered_twice(customer, placed):
    cart = customer.new_cart(("TEA-02", 1))
    placed(cart)
    assert customer.check_out(cart).status == 404


def test_a_coupon_counts_at_the_checkout(customer, placed):
    cart = customer.new_cart(("BOOK-01", 4))
    customer.option(cart, coupon="WELCOME10")
    order = placed(cart)
    assert [a["amount"] for a in order["adjustments"] if a["code"] == "coupon"] == [-998]


def test_the_purchase_can_be_made_on_the_pages(customer):
    customer.call("POST", "/cart", form={"sku": "LINEN-01", "quantity": "1", "add": "yes"})
    cart = customer.get("/cart").text
    assert "€ 17.90" in cart
    page = customer.call("POST", "/checkout", form={"email": "pages@shop-tests.invalid", "name": "T", "address": "N 1"})
    assert page.status == 200
    assert "Thank you, T" in page.text
    assert page.url.startswith(customer.base_url + "/orders/")
    number, token = page.url.removeprefix(customer.base_url + "/orders/").split("?token=")
    assert customer.cancel({"number": number, "token": token}).status == 200


def test_a_cancelled_test_order_is_gone(customer, placed):
    order = placed(customer.new_cart(("TEA-01", 1)))
    assert customer.cancel(order).status == 200
    assert customer.get(f"/api/orders/{order['number']}?token={order['token']}").status == 404


def test_an_order_of_a_test_is_counted_apart(customer, placed):
    placed(customer.new_cart(("TEA-01", 1)))
    assert 'shop_orders_placed_total{kind="test"}' in customer.get("/metrics").text
