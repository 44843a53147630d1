import pytest
from oscar.apps.catalogue.models import Product

from gifts.models import Wrapping


def test_wrapping_is_paid_by_the_piece():
    assert Wrapping(name="Gold paper", price_cents=350).total_cents(3) == 1050


def test_nothing_wrapped_costs_nothing():
    assert Wrapping(name="Gold paper", price_cents=350).total_cents(0) == 0


@pytest.mark.django_db
def test_the_catalogue_is_loaded_once(capsys):
    from django.core.management import call_command

    call_command("load_catalogue")
    call_command("load_catalogue")
    assert Product.objects.count() == 8
    assert Wrapping.objects.count() == 2
