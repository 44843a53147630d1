def test_a_cart_is_wrapped_and_unwrapped(customer):
    cart = customer.new_cart(("TEA-01", 2))
    before = customer.get(f"/api/carts/{cart}").json["total"]
    for _ in range(2):
        assert customer.call("PUT", f"/api/carts/{cart}/gift-wrap").json["total"] == before + 500
    assert customer.call("DELETE", f"/api/carts/{cart}/gift-wrap").json["total"] == before
    customer.call("DELETE", f"/api/carts/{cart}")


def test_the_cart_page_offers_it(customer):
    customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "1", "add": "yes"})
    assert "Gift wrapping, 1 pieces" in customer.call("POST", "/cart/gift-wrap", form={"wrap": "yes"}).text
