"""``make screenshots``: the pictures in the docs, of deliveries as they really are.

The real Airflow delivers features of the demo shop; at each gate the browser of whoever decides there takes its
picture, in English and, where the page is shown to testers and managers, in Russian. Not collected by ``make test``:
pictures are made when pages change, and looked at by somebody before they are committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from feature_delivery.cli.demo.overlay import DemoCommit
from feature_delivery.cli.demo.scenarios import CODE, CONFIRMATION, DEMONSTRATION, REQUEST, REVIEW, REWORK, VERDICT
from tests.support.delivering import DAG, DeliveringShop, delivering_shop

pytestmark = pytest.mark.timeout(1800)

IMAGES = Path(__file__).parents[2] / "docs" / "images"
LANGUAGES = {"en": "en-GB", "ru": "ru-RU"}
PATIENCE_MILLISECONDS = 60_000
WIDE = ViewportSize(width=1280, height=800)
SHORT = ViewportSize(width=1200, height=640)  # of a feature's page: what is asked, and the beginning of the rest
LOW = ViewportSize(width=1000, height=360)
BROAD = ViewportSize(width=1440, height=520)
PHONE = ViewportSize(width=390, height=780)
LARGEST_BYTES = 150_000

Look = Callable[..., Page]


@pytest.fixture(scope="module")
def delivering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveringShop]:
    """A shop of this module's own: other tests' features would be in the pictures."""
    with delivering_shop(tmp_path_factory.mktemp("pictures") / "home") as found:
        file = found.home / "projects" / "demo_store.yaml"
        # Long enough that the figures say something.
        file.write_text(file.read_text("utf-8").replace("observe_for: 2s", "observe_for: 15s"), "utf-8")
        yield found


@pytest.fixture
def look(chromium: Browser, delivering: DeliveringShop) -> Iterator[Look]:
    """Open pages in somebody's browser, who is logged in to Airflow; one browser for each person and language."""
    contexts: dict[tuple[Any, ...], Any] = {}
    address = delivering.now.instance.address
    with ExitStack() as opened:

        def page(name: str, path: str, *, language: str = "en", size: ViewportSize = WIDE, dark: bool = False) -> Page:
            key = (name, language, size["width"], dark)
            if key not in contexts:
                context = opened.enter_context(
                    closing(
                        chromium.new_context(
                            viewport=size,
                            locale=LANGUAGES[language],
                            timezone_id="Europe/Berlin",
                            color_scheme="dark" if dark else "light",
                            reduced_motion="reduce",
                        )
                    )
                )
                context.set_default_timeout(PATIENCE_MILLISECONDS)
                _log_in(context.new_page(), address, name, delivering.now.instance.settings.passwords()[name])
                contexts[key] = context
            found: Page = contexts[key].new_page()
            found.goto(address + path)
            return found

        yield page


def _log_in(page: Page, address: str, name: str, password: str) -> None:
    page.goto(address)
    page.get_by_label("Username").or_(page.locator("input[name=username]")).first.fill(name)
    page.locator("input[type=password]").first.fill(password)
    page.locator("button[type=submit]").first.click()
    page.wait_for_url(lambda url: "/login" not in url)
    page.close()


def board(path: str = "/") -> str:
    return f"/feature-delivery/board{path}"


def take(page: Page, name: str, *, of: str = "") -> None:
    """Write the picture of what the browser shows, or of one element; small enough to be in a repository."""
    expect(page.locator("#live-mark").or_(page.locator("body:not(:has(#live-mark))")).first).to_be_attached()
    page.wait_for_timeout(400)  # web pages have no moment at which they are finished; fonts and the first update are in
    IMAGES.mkdir(exist_ok=True)
    target = IMAGES / f"{name}.png"
    (page.locator(of).first if of else page).screenshot(path=target, animations="disabled")
    page.close()


def red_commit(home: Path) -> DemoCommit:
    """A commit with a test that does not pass."""
    overlay = home / "overlays" / "red"
    (overlay / "tests" / "unit").mkdir(parents=True)
    (overlay / "tests" / "unit" / "test_order_again.py").write_text(
        "def test_an_order_can_be_placed_again_with_one_click() -> None:\n    assert 3 * 1295 == 3885 + 1\n"
    )
    return DemoCommit(number=1, message="Order again with one click", overlay=overlay, from_production=False)


def busy(shop: DeliveringShop) -> None:
    """Let the board have something in most of its columns: delivered, rolled back, rejected, in review, red."""
    play = shop.play
    play.shipped("SHOP-1", play.feature("gift-wrap"), by="dean")

    key, what = "SHOP-2", play.feature("loyalty-points")
    play.developer().write(play.begin(key, what), what.commits[0])
    play.reviewed(key)
    play.accepted(key)
    play.stage.until_gate(key, VERDICT)
    complaint = " ".join((what.complaint or "").split())
    play.operator.decide(key, "verdict", "roll_back", complaint)
    play.stage.until_gate(key, REWORK)

    key, what = "SHOP-3", play.feature("wish-list")
    play.developer("dean").write(play.begin(key, what, by="dean"), what.commits[1])
    play.stage.until_gate(key, REQUEST)
    someone = play.developer("dean")
    someone.post("/requests", {"source": play.branch(key), "title": f"{key} {what.title}"})
    play.stage.until_gate(key, REVIEW)

    key, what = "SHOP-4", play.feature("slow-start")
    play.begin(key, what)

    key = "SHOP-5"
    play.manager.post("/issues", {"key": key, "title": "Order again with one click", "description": ""})
    play.manager.post("/features", {"key": key, "title": "Order again with one click"})
    play.developer().post(f"/issues/{key}/assign", {"assignee": "dora"})
    play.stage.until_gate(key, CODE)
    play.developer().write(play.branch(key), red_commit(shop.home))
    play.stage.until_gate(key, REQUEST, blocked=True)

    play.manager.post("/features", {"key": "SHOP-6", "title": "Pay by invoice"})

    key, what = "SHOP-7", play.feature("bulk-discount")
    play.developer("dean").write(play.begin(key, what, by="dean"), what.commits[0])
    play.reviewed(key, by="dean")
    complaint = " ".join((what.complaint or "").split())
    play.tester.decide(key, "acceptance", "reject", complaint)
    play.stage.until_gate(key, CODE)


def test_pictures_of_a_delivery(delivering: DeliveringShop, look: Look) -> None:
    play = delivering.play
    busy(delivering)
    key, what = "SHOP-8", play.feature("gift-cards")
    play.developer().write(play.begin(key, what), what.commits[0])
    play.reviewed(key)

    feature = board(f"/demo_store/{key}")
    for language in LANGUAGES:
        take(look("tess", board(), language=language), f"board-{language}")
        take(look("tess", board("/?person=me"), language=language, size=LOW), f"waits-for-me-{language}")
        take(look("tess", feature, language=language, size=SHORT), f"acceptance-{language}")
        take(look("max", board("/demo_store/SHOP-2"), language=language, size=SHORT), f"rolled-back-{language}")
    take(look("dora", board("/demo_store/SHOP-5"), size=SHORT), "red-en")
    take(look("tess", board(), size=PHONE, dark=True), "phone")
    take(look("olga", "/required_actions", size=BROAD), "required-actions")

    play.tester.decide(key, "acceptance", "approve", "A card of 20 euros pays 20 euros, the rest stays on it.")
    play.stage.until_gate(key, CONFIRMATION)
    for language in LANGUAGES:
        take(look("max", feature, language=language, size=SHORT), f"confirmation-{language}")

    play.manager.decide(key, "confirmation", "approve", "Ship it.")
    play.stage.until_gate(key, VERDICT)
    for language in LANGUAGES:
        take(look("max", feature, language=language, size=SHORT), f"verdict-{language}")

    play.operator.decide(key, "verdict", "keep", "Production is well.")
    play.stage.until_gate(key, DEMONSTRATION)
    for language in LANGUAGES:
        take(look("max", feature, language=language, size=SHORT), f"demonstration-{language}")
        take(look("max", board("/figures"), language=language), f"figures-{language}")
    run = look("olga", f"/dags/{DAG}/runs/{key}")
    expect(run.get_by_text("demo_store").or_(run.get_by_text(key)).first).to_be_visible()
    run.wait_for_timeout(3000)  # Airflow's page fills its parts one after another
    take(run, "grid")
    large = {path.name: path.stat().st_size for path in IMAGES.glob("*.png") if path.stat().st_size > LARGEST_BYTES}
    assert large == {}, "these are too large for a repository"
