"""What the look at the built site finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_site import faults, main

GOOD = """<link rel="stylesheet" href="site.css"><a href="#here" id="here">x</a><a href="b.html#there">x</a>
<a href="https://airflow.apache.org/">x</a><img src="data:image/png;base64,AA"><a href="mailto:a@b.example">x</a>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "a.html").write_text(GOOD)
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html">x</a>')
    (tmp_path / "404.html").write_text('<a href="/a.html">x</a>')
    (tmp_path / "site.css").write_text("p { background: url(x.png) }")
    return tmp_path


def test_a_site_whose_links_lead_somewhere_has_no_fault(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert faults(site) == []
    assert main([str(site)]) == 0
    assert "every link leads somewhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ('<a href="c.html">', "'c.html'"),
        ('<a href="b.html#nowhere">', "'b.html#nowhere'"),
        ('<a href="#nowhere">', "'#nowhere'"),
        ('<img src="images/gone.png">', "'images/gone.png'"),
        ('<script src="https://cdn.example/x.js"></script>', "https://cdn.example/x.js from elsewhere"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "//fonts.example/x.css from elsewhere"),
    ],
)
def test_a_dead_link_or_something_from_elsewhere_is_found(site: Path, added: str, said: str) -> None:
    (site / "a.html").write_text(GOOD + added)
    assert len(faults(site)) == 1
    assert said in faults(site)[0]


def test_a_style_that_loads_from_elsewhere_and_an_empty_site_are_found(site: Path, tmp_path: Path) -> None:
    (site / "site.css").write_text("@import 'https://fonts.example/x.css';")
    assert "fonts.example" in faults(site)[0]
    (tmp_path / "none").mkdir()
    assert main([str(tmp_path / "none")]) == 1
