def test_an_order_of_five_is_cheaper(customer):
    order = customer.check_out(customer.new_cart(("LINEN-01", 5))).json
    try:
        assert sum(a["amount"] for a in order["adjustments"]) < 0
    finally:
        customer.cancel(order)
