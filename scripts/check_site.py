"""Look at the built docs site: every link within it leads somewhere, and no page loads anything from elsewhere.

python scripts/check_site.py build/site
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
ABSOLUTE = "404.html"  # its links are for the root of whichever server shows it
ELSEWHERE = re.compile(r"^(?:https?:)?//")
IN_STYLES = re.compile(r"(?:@import|url\()\s*['\"]?((?:https?:)?//[^'\")]+)")


@dataclass
class Page(HTMLParser):
    """What one page loads, where it leads, and which of its places can be led to."""

    path: Path
    loads: list[str] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__(convert_charrefs=True)
        self.feed(self.path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads, leads to, or names."""
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag in LOADS and LOADS[tag] in found:
            self.loads.append(found[LOADS[tag]])
        if tag == "a" and "href" in found:
            self.leads.append(found["href"])


def faults(site: Path) -> list[str]:
    """Return a sentence for each fault of the site in ``site``."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html")) if path.name != ABSOLUTE}
    found = [] if pages else [f"{site} holds no page: build it with 'make docs'."]
    for page in pages.values():
        name = page.path.relative_to(site)
        found += [f"{name} loads {one} from elsewhere." for one in page.loads if ELSEWHERE.match(one)]
        for target in [*page.loads, *page.leads]:
            if not leads_somewhere(page, target, pages):
                found.append(f"{name} leads to {target!r}, which is not there.")
    for style in sorted(site.rglob("*.css")):
        found += [f"{style.relative_to(site)} loads {one}." for one in IN_STYLES.findall(style.read_text("utf-8"))]
    return found


def leads_somewhere(page: Page, target: str, pages: dict[Path, Page]) -> bool:
    """Say whether a link within the site has its file and its place there; links out of it are not followed."""
    split = urlsplit(target)
    if split.scheme or split.netloc or target.startswith(("data:", "javascript:")):
        return True
    file = (page.path.parent / unquote(split.path)).resolve() if split.path else page.path.resolve()
    if not file.is_file():
        return False
    # A page's own script opens "#__…" places.
    anchor = unquote(split.fragment)
    return not anchor or anchor.startswith("__") or file not in pages or anchor in pages[file].places


def main(arguments: list[str]) -> int:
    """Print the faults of the site; 1 when there are any."""
    site = Path(arguments[0])
    found = faults(site)
    for one in found:
        sys.stderr.write(f"{one}\n")
    if not found:
        sys.stdout.write(f"{len(list(site.rglob('*.html')))} pages in {site}, every link leads somewhere.\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
