def test_what_is_found_can_be_bought(customer):
    sku = customer.get("/api/search?q=verbena").json["products"][0]["sku"]
    order = customer.check_out(customer.new_cart((sku, 1))).json
    assert order["lines"][0]["sku"] == sku
    customer.cancel(order)
