def test_a_gift_card_shows_its_balance(customer):
    assert customer.get("/api/gift-cards/gift-2500").json["balance"] >= 0
    assert customer.get("/api/gift-cards/nope").status == 404


def test_the_cart_page_takes_a_gift_card(customer):
    customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "1", "add": "yes"})
    page = customer.call("POST", "/cart", form={"gift_card": "SHOP-TESTS"})
    assert "Gift card SHOP-TESTS" in page.text
    assert customer.call("POST", "/cart", form={"gift_card": "nope"}).status == 422
