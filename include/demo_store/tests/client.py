"""A customer at the other end of HTTP. The shop's address comes from $BASE_URL."""

import http.cookiejar
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

TEST_CUSTOMER = {
    "email": "integration@shop-tests.invalid",
    "name": "Test Customer",
    "address": "Nowhere 1, Testville",
}


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    url: str

    @property
    def json(self):
        return json.loads(self.text)


class Customer:
    """Keeps cookies like a browser does; follows redirects."""

    def __init__(self, base_url=None):
        self.base_url = (base_url or os.environ["BASE_URL"]).rstrip("/")
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)

    def call(self, method, path, *, body=None, form=None):
        data, headers = None, {}
        if body is not None:
            data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        elif form is not None:
            data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.base_url + path, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=10) as response:
                return Answer(response.status, response.read().decode(), response.url)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode(), self.base_url + path)

    def get(self, path):
        return self.call("GET", path)

    def new_cart(self, *items):
        """Make a cart with (sku, quantity) items; return its id."""
        cart = self.call("POST", "/api/carts").json["id"]
        for sku, quantity in items:
            self.put(cart, sku, quantity)
        return cart

    def put(self, cart, sku, quantity):
        answer = self.call("PUT", f"/api/carts/{cart}/items/{sku}", body={"quantity": quantity})
        assert answer.status == 200, answer.text
        return answer.json

    def option(self, cart, **options):
        return self.call("PATCH", f"/api/carts/{cart}", body={"options": options})

    def check_out(self, cart, **details):
        return self.call("POST", "/api/checkout", body=TEST_CUSTOMER | {"cart": cart} | details)

    def cancel(self, order):
        return self.call("DELETE", f"/api/orders/{order['number']}?token={order['token']}")
