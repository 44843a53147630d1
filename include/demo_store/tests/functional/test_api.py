import pytest


def test_the_shop_is_healthy_and_says_what_it_is(customer):
    facts = customer.get("/healthz").json
    assert (facts["status"], facts["database"]) == ("ok", "ok")
    assert {"version", "commit", "environment"} <= set(facts)


def test_products_can_be_listed_by_category(customer):
    products = customer.get("/api/products?category=Books").json["products"]
    assert {product["category"] for product in products} == {"Books"}


def test_an_unknown_product_is_a_404_with_a_reason(customer):
    answer = customer.get("/api/products/NOPE")
    assert (answer.status, answer.json) == (404, {"error": "There is no product 'NOPE'."})


def test_a_cart_adds_up(customer):
    cart = customer.new_cart(("TEA-01", 3), ("BOOK-02", 1))
    shown = customer.get(f"/api/carts/{cart}").json
    assert shown["goods"] == sum(line["total"] for line in shown["lines"]) == 3 * 695 + 1850
    assert shown["total"] == shown["goods"] + shown["shipping"] + sum(a["amount"] for a in shown["adjustments"])
    customer.call("DELETE", f"/api/carts/{cart}")
    assert customer.get(f"/api/carts/{cart}").status == 404


def test_a_coupon_lowers_the_total(customer):
    cart = customer.new_cart(("WOOL-01", 1))
    before = customer.get(f"/api/carts/{cart}").json["total"]
    assert customer.option(cart, coupon="WELCOME10").json["total"] == before - 890
    assert customer.option(cart, coupon="NOPE").status == 422
    customer.call("DELETE", f"/api/carts/{cart}")


@pytest.mark.parametrize("quantity", [-1, 100, "1", None])
def test_a_wrong_quantity_is_refused(customer, quantity):
    cart = customer.new_cart()
    assert customer.call("PUT", f"/api/carts/{cart}/items/TEA-01", body={"quantity": quantity}).status == 422
    customer.call("DELETE", f"/api/carts/{cart}")


def test_a_body_that_is_not_json_is_refused(customer):
    assert customer.call("POST", "/api/checkout", form={"a": "b"}).json == {"error": "The request must be JSON."}


def test_a_method_that_is_not_there_is_refused(customer):
    assert customer.call("DELETE", "/api/products").status == 405


def test_a_checkout_without_a_cart_is_refused(customer):
    assert customer.check_out("nope").status == 404


def test_the_metrics_count_requests_by_route(customer):
    customer.get("/api/products/TEA-01")
    text = customer.get("/metrics").text
    assert 'http_requests_total{method="GET",route="/api/products/<sku>",status="200"}' in text
    assert "http_request_duration_seconds_bucket" in text
    assert "shop_orders_placed_total" in text
    assert "shop_build_info" in text


def test_nonsense_is_refused_and_never_an_error_of_ours(customer):
    assert customer.get("/api/orders/99999999999999999999?token=x").status == 404
    assert customer.get("/api/products/%00%ff").status == 404
    assert customer.call("POST", "/api/checkout", body={"cart": "\ud800"}).status == 422
    assert customer.call("POST", "/api/checkout", body=[1]).status == 422
    assert customer.call("POST", "/api/checkout", body={"cart": "x" * 100_000}).status == 413
    cart = customer.new_cart()
    assert customer.call("PATCH", f"/api/carts/{cart}", body={"options": {"coupon": 5}}).status == 422
    assert customer.call("PATCH", f"/api/carts/{cart}", body={"options": "x"}).status == 422
    customer.call("DELETE", f"/api/carts/{cart}")
