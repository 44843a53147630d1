import json
from decimal import Decimal

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from oscar.apps.catalogue.models import Category
from oscar.apps.partner.models import Partner, StockRecord
from oscar.core.loading import get_model

from gifts.models import Wrapping

Product, ProductClass = get_model("catalogue", "Product"), get_model("catalogue", "ProductClass")


class Command(BaseCommand):
    help = "Write catalogue/products.json into the database; what is there already is kept."

    @transaction.atomic
    def handle(self, *args, **options):
        found = json.loads((settings.BASE_DIR / "catalogue" / "products.json").read_text("utf-8"))
        kind, _ = ProductClass.objects.get_or_create(name="Thing", requires_shipping=True, track_stock=True)
        partner, _ = Partner.objects.get_or_create(name="Lantern & Loom")
        for one in found["wrappings"]:
            Wrapping.objects.get_or_create(name=one["name"], defaults={"price_cents": one["price_cents"]})
        for one in found["products"]:
            if StockRecord.objects.filter(partner=partner, partner_sku=one["sku"]).exists():
                continue
            category = Category.objects.filter(name=one["category"]).first() or Category.add_root(name=one["category"])
            product = Product.objects.create(product_class=kind, title=one["title"], upc=one["sku"])
            product.categories.add(category)
            StockRecord.objects.create(
                product=product, partner=partner, partner_sku=one["sku"], price=Decimal(one["price"]), num_in_stock=1000
            )
        self.stdout.write(f"{Product.objects.count()} products, {Wrapping.objects.count()} wrappings.")
