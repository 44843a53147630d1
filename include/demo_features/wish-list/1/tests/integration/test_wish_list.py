def test_wishes_are_kept_and_forgotten(customer):
    name = customer.call("POST", "/api/wish-lists").json["id"]
    for _ in range(2):
        assert customer.call("PUT", f"/api/wish-lists/{name}/LAMP-01").json["products"] == ["LAMP-01"]
    assert customer.call("PUT", f"/api/wish-lists/{name}/NOPE").status == 404
    customer.call("DELETE", f"/api/wish-lists/{name}")
    assert customer.get(f"/api/wish-lists/{name}").status == 404
