import re
import urllib.error

import pytest

from tests.browsing import Browser


@pytest.fixture
def browser():
    return Browser()


def test_the_catalogue_shows_every_product(browser):
    assert len(set(re.findall(r'href="(/catalogue/[a-z-]+_\d+/)"', browser.get("/catalogue/")))) == 8


def test_a_product_has_a_page_with_its_price(browser):
    link = re.search(r'href="(/catalogue/lantern_\d+/)"', browser.get("/catalogue/"))[1]
    assert "12.90" in browser.get(link)


def test_the_style_sheet_is_found(browser):
    sheet = re.search(r'href="(/static/[^"]+\.css[^"]*)"', browser.get("/catalogue/"))[1]
    assert "bootstrap" in browser.get(sheet).lower()


def test_the_search_finds_by_title(browser):
    assert re.search(r'href="/catalogue/blanket_\d+/"', browser.get("/search/?q=Blanket"))


def test_an_unknown_product_is_not_found(browser):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        browser.get("/catalogue/nothing_99999/")
