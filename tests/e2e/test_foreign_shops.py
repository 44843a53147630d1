"""Shops in other languages: a Node and a Makefile project, delivered by what ``init`` writes for them, unedited."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from feature_delivery.domain.plan import Suite
from feature_delivery.services.delivery_file import read_delivery_file
from tests.support.command_line import git
from tests.support.newcomer import Newcomer
from tests.support.ports import free_port

# About 90 seconds on a quiet machine with two cores.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODE_TEST = 'import assert from "node:assert/strict";\nimport test from "node:test";\n'
KETTLE: Mapping[str, str] = {
    "package.json": json.dumps(
        {
            "name": "kettle",
            "version": "1.0.0",
            "type": "module",
            "scripts": {
                "start": "node server.js",
                **{
                    f"test:{suite}": f"node --test test/{suite}.test.js"
                    for suite in ("unit", "functional", "integration")
                },
            },
            "dependencies": {"pricing": "file:pricing"},
        }
    ),
    # A dependency of the repository's own: npm ci has something to install, and needs no network.
    "package-lock.json": json.dumps(
        {
            "name": "kettle",
            "version": "1.0.0",
            "lockfileVersion": 3,
            "requires": True,
            "packages": {
                "": {"name": "kettle", "version": "1.0.0", "dependencies": {"pricing": "file:pricing"}},
                "node_modules/pricing": {"resolved": "pricing", "link": True},
                "pricing": {"version": "1.0.0"},
            },
        }
    ),
    "pricing/package.json": '{"name": "pricing", "version": "1.0.0", "type": "module", "main": "index.js"}',
    "pricing/index.js": "export const total = (cents, pieces) => cents * pieces;\n",
    "server.js": """
import { createServer } from "node:http";
import { total } from "pricing";

const pages = { "/healthz": () => "well", "/teapot": () => String(total(2500, 2)) };
createServer((request, answer) => {
  const page = pages[request.url];
  answer.statusCode = page ? 200 : 404;
  answer.end(page ? page() : "no such page");
}).listen(process.env.PORT, process.env.HOST);
""",
    "test/unit.test.js": NODE_TEST
    + 'import { total } from "pricing";\ntest("pieces are counted", () => assert.equal(total(5, 2), 10));\n',
    **{
        f"test/{suite}.test.js": NODE_TEST
        + 'test("a teapot has a price", async () => {\n'
        + "  const answer = await fetch(`${process.env.BASE_URL}/teapot`);\n"
        + "  assert.ok(Number(await answer.text()) > 0);\n});\n"
        for suite in ("functional", "integration")
    },
    ".gitignore": "node_modules/\n",
}
MILL: Mapping[str, str] = {
    "Makefile": """
.PHONY: install start lint test-unit test-functional test-integration
install:
	echo built > built.txt
start:
	exec python3 -m mill $(HOST) $(PORT)
lint:
	python3 -m compileall -q mill
test-unit:
	python3 -c 'from mill.grind import bags; assert bags(26) == 2'
test-functional test-integration:
	python3 -c 'import os, urllib.request as r; assert r.urlopen(os.environ["BASE_URL"] + "/bags").read() == b"2"'
""",
    "mill/__init__.py": "",
    "mill/grind.py": "def bags(kilos):\n    return -(-kilos // 25)\n",
    "mill/__main__.py": """
import os, pathlib, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mill.grind import bags

SOLD = pathlib.Path(os.environ["DATA_DIR"], "sold")

class Mill(BaseHTTPRequestHandler):
    def do_GET(self):
        pages = {"/health": "well", "/bags": str(bags(50)), "/sold": SOLD.read_text() if SOLD.exists() else "0"}
        body = pages.get(self.path, "no such page").encode()
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        SOLD.write_text(str(int(SOLD.read_text() if SOLD.exists() else 0) + 1))
        self.do_GET()

ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Mill).serve_forever()
""",
    ".gitignore": "__pycache__/\n",
}


@dataclass(frozen=True)
class Market:
    """One instance with two shops: their newcomers, and where production answers."""

    kettle: Newcomer
    mill: Newcomer
    addresses: Mapping[str, str]

    def ask(self, newcomer: Newcomer, path: str) -> str:
        """Return what production answers."""
        answer = httpx.get(self.addresses[newcomer.project] + path, timeout=10, trust_env=False)
        assert answer.status_code == 200, answer
        return answer.text


def shop(home: Path, checkout: Path, files: Mapping[str, str], port: int) -> Newcomer:
    """Make a repository with a shop, and let ``init`` write its ``delivery.yaml``."""
    for name, text in files.items():
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    newcomer = Newcomer(home=home, checkout=checkout, port=port, project=checkout.name)
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    answer = newcomer.run("init", str(checkout))
    assert answer.code == 0, answer
    assert "See to this first" not in answer.out, "nothing is amiss with this shop"
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "The shop")
    git(checkout, "remote", "add", "delivery", str(home / "repositories" / f"{checkout.name}.git"))
    return newcomer


def missing_tool() -> str:
    """Return why these shops are not run here; empty: they are."""
    if "CI" in os.environ:
        return "Two shops more take two minutes, which CI does not have: unset CI to deliver them."
    if lost := [tool for tool in ("node", "npm", "make") if shutil.which(tool) is None]:
        return f"Shops of Node and make cannot be delivered here: {', '.join(lost)} is not installed."
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        return f"The Node shop's tests write JUnit reports, which Node {version.strip()} does not know: 20 does."
    return ""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    if reason := missing_tool():
        pytest.skip(reason)
    place, port = tmp_path_factory.mktemp("market"), free_port()
    kettle = shop(place / "home", place / "kettle", KETTLE, port)
    mill = shop(place / "home", place / "mill", MILL, port)
    try:
        said = kettle.start("--repository", str(mill.checkout))
        assert "feature-delivery status SHOP-1 --project mill" in said
        found = [line.split()[1] for line in said.splitlines() if line.startswith("Production")]
        yield Market(kettle, mill, dict(zip(("kettle", "mill"), found, strict=True)))
        assert kettle.stop(signal.SIGTERM) == 0
        assert kettle.processes() == []
    finally:
        kettle.hang_up()
        mill.hang_up()
        if kettle.up is not None and kettle.up.poll() is None:
            kettle.up.kill()
        for process in kettle.processes():
            process.kill()


def plan_of(newcomer: Newcomer) -> dict[Suite, tuple[str, ...]]:
    """Return the suites that ``init`` has found."""
    file = newcomer.checkout / "delivery.yaml"
    return {suite: plan.command for suite, plan in read_delivery_file(file.read_bytes(), where="x").suites.items()}


def brew(market: Market) -> None:
    """Deliver the Node shop: red at first, rejected by its tester, then right."""
    kettle, branch = market.kettle, "feature/KET-1-dearer-teapots"
    price = "export const total = (cents, pieces) => cents * pieces{};\n"
    kettle.push(branch, "Dearer teapots", {"pricing/index.js": price.format(" + 1")})
    kettle.until_gate("KET-1", "merge_request", blocked="pieces are counted")
    assert "11 !== 10" in kettle.run("logs", "KET-1", "--project", "kettle").out, "the log of what failed"
    server = (kettle.checkout / "server.js").read_text()
    right = {"pricing/index.js": price.format(""), "server.js": server.replace("2500", "2600")}
    kettle.push(branch, "Dearer teapots, rightly", right)
    kettle.decide("KET-1", "review")
    kettle.until_gate("KET-1", "acceptance")
    words = ("--gate", "acceptance", "--comment", "Not dear enough", "--project", "kettle")
    assert kettle.run("reject", "KET-1", *words).code == 0
    kettle.until_gate("KET-1", "code")
    kettle.push(branch, "Dearest teapots", {"server.js": server.replace("2500", "2700")})
    kettle.decide("KET-1", "review", "acceptance", "confirmation")


def grind(market: Market) -> None:
    """Deliver the Makefile shop straight through."""
    market.mill.push("feature/MILL-1-prices", "Prices", {"mill/price.py": "CENTS = 1990\n"})
    market.mill.decide("MILL-1", "review", "acceptance", "confirmation")


def test_a_node_and_a_makefile_shop_go_to_production_side_by_side_as_init_describes_them(market: Market) -> None:
    assert plan_of(market.kettle)[Suite.UNIT][-1] == "test/unit.test.js"
    assert plan_of(market.mill)[Suite.UNIT] == ("make", "test-unit")
    assert market.ask(market.kettle, "/teapot") == "5000"
    httpx.post(market.addresses["mill"] + "/sold", timeout=10, trust_env=False)
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(brew, market), pool.submit(grind, market)]:
            future.result()
    for newcomer, key, attempt in ((market.mill, "MILL-1", 1), (market.kettle, "KET-1", 3)):
        newcomer.until_gate(key, "verdict")
        preprod = next(one for one in newcomer.feature(key)["environments"] if one["name"].startswith("preprod"))
        if newcomer is market.mill:
            own = httpx.get(preprod["address"] + "/sold", timeout=10, trust_env=False).text
            assert (own, market.ask(newcomer, "/sold")) == ("0", "1"), (
                "data are an environment's own and outlive releases"
            )
        assert newcomer.run("keep", key, "--project", newcomer.project).code == 0
        newcomer.decide(key, "demonstration")
        found = newcomer.feature(key)
        assert (found["state"], found["attempt"], found["environments"]) == ("delivered", attempt, [])
    assert market.ask(market.kettle, "/teapot") == "5400"
    said = market.kettle.run("status", "KET-1").err
    assert "--project" in said
    assert "kettle, mill" in said
