def test_a_cart_can_be_wrapped(customer):
    cart = customer.new_cart(("TEA-01", 1))
    assert [a["code"] for a in customer.option(cart, gift_wrap="yes").json["adjustments"]] == ["wrapping"]
    customer.call("DELETE", f"/api/carts/{cart}")
