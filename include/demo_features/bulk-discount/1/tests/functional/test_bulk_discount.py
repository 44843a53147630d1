def test_the_cart_names_the_discount(customer):
    cart = customer.new_cart(("WOOL-01", 5))
    assert "10 % off 5 × Lambswool throw" in [a["label"] for a in customer.get(f"/api/carts/{cart}").json["adjustments"]]
    assert customer.put(cart, "WOOL-01", 4)["adjustments"] == []
    customer.call("DELETE", f"/api/carts/{cart}")
