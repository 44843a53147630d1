def test_a_purchase_with_a_gift_card_is_paid_and_paid_back(customer):
    before = customer.get("/api/gift-cards/SHOP-TESTS").json["balance"]
    cart = customer.new_cart(("TEA-01", 2))
    customer.option(cart, gift_card="SHOP-TESTS")
    order = customer.check_out(cart).json
    try:
        assert order["due"] == 0
        assert customer.get("/api/gift-cards/SHOP-TESTS").json["balance"] == before - order["total"]
    finally:
        customer.cancel(order)
    assert customer.get("/api/gift-cards/SHOP-TESTS").json["balance"] == before
