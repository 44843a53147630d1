def test_a_wrapped_order_keeps_its_charge(customer):
    cart = customer.new_cart(("TEA-01", 2))
    customer.call("PUT", f"/api/carts/{cart}/gift-wrap")
    order = customer.check_out(cart).json
    try:
        assert [a["amount"] for a in order["adjustments"] if a["code"] == "gift-wrap"] == [500]
    finally:
        customer.cancel(order)
