import re

from tests.browsing import Browser


def test_what_is_put_into_the_basket_is_in_it_until_it_is_removed():
    browser = Browser()
    link = re.search(r'href="(/catalogue/scarf_(\d+)/)"', browser.get("/catalogue/"))
    browser.post(link[1], f"/basket/add/{link[2]}/", quantity="2")
    line = re.search(r'name="form-0-id" value="(\d+)"', browser.get("/basket/"))[1]
    counts = {"form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-MIN_NUM_FORMS": 0, "form-MAX_NUM_FORMS": 1000}
    browser.post("/basket/", "/basket/", **counts, **{"form-0-id": line, "form-0-quantity": 0})
    assert "form-0-id" not in browser.get("/basket/")


def test_a_visitor_may_register():
    assert 'name="registration-email"' in Browser().get("/accounts/login/")
