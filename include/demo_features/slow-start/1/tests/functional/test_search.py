def test_products_are_found_by_words(customer):
    assert [p["sku"] for p in customer.get("/api/search?q=lime+mint").json["products"]] == ["TEA-01"]
