def test_a_purchase_earns_points(customer):
    answer = customer.check_out(customer.new_cart(("TEA-01", 2)))
    assert answer.status == 201, f"The checkout answered {answer.status}: {answer.text[:200]}"
    try:
        assert answer.json["loyalty"]["points"] == answer.json["total"] // 100
    finally:
        customer.cancel(answer.json)
