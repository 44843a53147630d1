def test_the_front_page_leads_to_the_catalogue(customer):
    page = customer.get("/")
    assert page.status == 200
    assert 'href="/catalogue"' in page.text


def test_the_catalogue_shows_products_and_filters_them(customer):
    assert "Copper table lamp" in customer.get("/catalogue").text
    assert "Copper table lamp" not in customer.get("/catalogue?category=Books").text


def test_what_comes_from_outside_is_escaped(customer):
    page = customer.get("/catalogue?category=%3Cscript%3E")
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text


def test_a_product_goes_into_the_cart_and_out_again(customer):
    customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "2", "add": "yes"})
    page = customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "1", "add": "yes"})
    assert "Evening tea" in page.text
    assert "€ 20.85" in page.text
    assert "It is empty" in customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "0"}).text


def test_a_wrong_quantity_is_explained_on_the_page(customer):
    page = customer.call("POST", "/cart", form={"sku": "TEA-01", "quantity": "many"})
    assert page.status == 422
    assert "whole number" in page.text


def test_a_page_that_is_not_there_says_so(customer):
    page = customer.get("/attic")
    assert page.status == 404
    assert "There is no such page." in page.text


def test_the_style_sheet_is_served_and_nothing_outside_of_it(customer):
    assert customer.get("/static/shop.css").status == 200
    assert customer.get("/static/..%2Fconfig.py").status in (403, 404)
