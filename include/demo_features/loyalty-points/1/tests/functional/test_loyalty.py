def test_the_front_page_tells_of_points(customer):
    assert "One point for every euro" in customer.get("/").text
