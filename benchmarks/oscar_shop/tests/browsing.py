"""A customer's browser: cookies, forms, one address."""

import os
import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar


class Browser:
    def __init__(self):
        self.base = os.environ["BASE_URL"].rstrip("/")
        self.open = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        ).open

    def get(self, path):
        with self.open(self.base + path, timeout=30) as answer:
            return answer.read().decode("utf-8", "replace")

    def post(self, page, path, **fields):
        """Send the form of a page, with its token."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(page))[1]
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        request = urllib.request.Request(self.base + path, data, {"Referer": self.base + page})
        with self.open(request, timeout=30) as answer:
            return answer.read().decode("utf-8", "replace")
