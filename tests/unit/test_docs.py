"""The READMEs and the docs: what they point at is there, both languages say the same, pictures are small and used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feature_delivery.bootstrap.project_file import read_project_file
from feature_delivery.web.board.language import languages
from feature_delivery.web.board.words import GATES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TRANSLATED = {
    ROOT / "README.md": ROOT / "README.ru.md",
    DOCS / "testers.md": DOCS / "ru" / "testers.md",
    DOCS / "managers.md": DOCS / "ru" / "managers.md",
    DOCS / "index.md": DOCS / "ru" / "index.md",
}
LARGEST_BYTES = 150_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_points_at_is_there(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        path = target.partition("#")[0]
        if path and ":" not in path:
            assert (page.parent / path).exists(), f"{page.name} points at {target}"


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_russian_page_has_the_same_parts_pictures_and_commands(page: Path) -> None:
    def parts(text: str) -> tuple[list[str], list[str], int]:
        headings = [line.split()[0] for line in re.findall(r"^#+ .*$", text, re.MULTILINE)]
        pictures = [re.sub(r"-(?:en|ru)\.png|-ru\.svg", "", one) for one in re.findall(r"images/(\S+?)\)", text)]
        return headings, [one.removesuffix(".svg") for one in pictures], text.count("\n|")

    one, other = (path.read_text("utf-8") for path in (page, TRANSLATED[page]))
    if page.name != "index.md":  # the Russian one leads to fewer pages
        assert parts(one) == parts(other)

    def commands(text: str) -> list[str]:
        found = re.findall(r"^(?:make|export|feature-delivery|\(cd) [^#\n]+", text, re.MULTILINE)
        return [one.strip() for one in found]

    assert commands(one) == commands(other)


def test_the_russian_pages_call_the_gates_and_buttons_as_the_board_does() -> None:
    text = languages()["ru"].text
    testers, managers = ((DOCS / "ru" / name).read_text("utf-8") for name in ("testers.md", "managers.md"))
    for word in ("Acceptance", "Approve", "Reject", "Look at the changes"):
        assert f"**{text(word)}**" in testers
    for word in ("Approve", "Reject", "Keep", "Roll back"):
        assert f"**{text(word)}**" in managers
    for word in ("Confirmation", "Verdict", "Demonstration", "Figures"):
        assert text(word) in managers
    glossary = (DOCS / "glossary.md").read_text("utf-8")
    for word in GATES.values():
        if word in {"Acceptance", "Confirmation", "Verdict", "Demonstration", "Rework"}:
            assert f"| {word.lower()} | {text(word).lower()} |" in glossary


def test_every_picture_is_small_and_on_some_page() -> None:
    said = "".join(page.read_text("utf-8") for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert f"images/{picture.name})" in said, f"nobody shows {picture.name}: remove it"
        assert picture.stat().st_size < LARGEST_BYTES, f"{picture.name} is too large for a repository"


def test_every_runbook_is_in_the_list_of_alerts() -> None:
    listed = (DOCS / "alerts.md").read_text("utf-8")
    assert [page.name for page in (DOCS / "runbooks").glob("*.md") if f"runbooks/{page.name}" not in listed] == []


def test_the_glossary_explains_a_word_once() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (DOCS / "glossary.md").read_text("utf-8"), re.MULTILINE)
    for words in zip(*rows, strict=True):
        assert len(words) > 40
        assert [word for word in words if words.count(word) > 1] == []


def test_every_test_that_something_names_is_there() -> None:
    files = [*PAGES, *(ROOT / "include").rglob("*.md"), *(ROOT / "include").rglob("*.yaml")]
    named = {name for file in files for name in re.findall(r"\btests/[\w/]+\.py", file.read_text("utf-8"))}
    assert len(named) > 5
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def examples() -> list[tuple[str, str]]:
    """Every whole project file of the docs, and the page it is on."""
    blocks = (
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    )
    return [
        (page, block)
        for page, block in blocks
        if re.search(r"^name: ", block, re.MULTILINE) and "\nrepository: " in block
    ]


@pytest.mark.parametrize(("page", "example"), examples())
def test_a_project_file_of_the_docs_can_be_used(tmp_path: Path, page: str, example: str) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(example, "utf-8")
    assert read_project_file(file).name == "shop", page


def test_there_are_such_project_files() -> None:
    assert {page for page, _ in examples()} >= {"connect.md", "slack.md", "index.md"}


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.>/])/(?:work|root)/", page.read_text("utf-8")), page.name


def test_the_page_about_upgrades_says_which_revision_the_ledger_of_each_version_has() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    said = re.findall(r"^\| (\d+\.\d+\.\d+) \| (\d{4}) \|$", (DOCS / "upgrade.md").read_text("utf-8"), re.MULTILINE)
    assert [version for version, _ in said] == versions, "the newest first, as in the CHANGELOG"
    migrations = ROOT / "include/feature_delivery/adapters/ledger/migrations/versions"
    assert said[0][1] == max(file.name[:4] for file in migrations.glob("0*.py")), "put it into docs/upgrade.md"
