import pytest

from store import catalogue
from store.extensions.search import find


@pytest.mark.parametrize(
    ("query", "skus"), [("copper", {"LAMP-01"}), ("BRASS glass", {"LAMP-03"}), ("copper glass", set()), ("", set())]
)
def test_every_word_must_be_there(connection, query, skus):
    assert {product["sku"] for product in find(catalogue.products(connection), query)} == skus
