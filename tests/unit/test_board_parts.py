"""Small parts of the pages: which links are safe, how patches and pictures are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.git.patches import Patch
from feature_delivery.domain.process import PROCESS, Step
from feature_delivery.domain.project import HostConfig
from feature_delivery.ports.repository import FileChange
from feature_delivery.services.control.journey import Span, Spent
from feature_delivery.services.control.status import StepView
from feature_delivery.web.board import charts
from feature_delivery.web.board.changes_page import LINE_LIMIT, files_of
from feature_delivery.web.board.feature_page import Station, station
from feature_delivery.web.board.shown import host_pages, safe_url, short, task_place

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//evil.example",
        "/path",
        "http:",
        "http:///x",
        "http://[",
        "",
    ],
)
def test_only_pages_of_the_web_are_links(url: str) -> None:
    assert safe_url(url) == ""


def test_pages_of_the_web_are_links() -> None:
    for url in ("http://127.0.0.1:8123/", "https://git.example/shop/-/merge_requests/3?x=1#n"):
        assert safe_url(url) == url


@pytest.mark.parametrize(
    ("kind", "request_url", "commit", "compare", "changes"),
    [
        ("github", "https://g.example/o/r/pull/7", "/o/r/commit/", "/o/r/compare/", "/o/r/pull/7/files"),
        (
            "gitlab",
            "https://g.example/a/b/r/-/merge_requests/7",
            "/a/b/r/-/commit/",
            "/a/b/r/-/compare/",
            "/a/b/r/-/merge_requests/7/diffs",
        ),
        ("gitea", "https://g.example/o/r/pulls/7", "/o/r/commit/", "/o/r/compare/", "/o/r/pulls/7/files"),
    ],
)
def test_the_hosts_pages_are_known_from_a_request(
    kind: str, request_url: str, commit: str, compare: str, changes: str
) -> None:
    pages = host_pages(HostConfig(kind=kind), request_url)
    assert pages.commit("ab/..") == f"https://g.example{commit}ab%2F.."
    assert pages.compare("a", "b") == f"https://g.example{compare}a...b"
    assert pages.changes_at == f"https://g.example{changes}"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("local", "https://g.example/o/r/pull/7"),
        ("github", "javascript:x/pull/7"),
        ("github", ""),
        ("github", "https://g.example/other/7"),
    ],
)
def test_where_nothing_is_known_nothing_is_linked(kind: str, url: str) -> None:
    pages = host_pages(HostConfig(kind=kind), url)
    assert (pages.commit("a"), pages.compare("a", "b"), pages.changes_at) == ("", "", "")


def test_names_are_short() -> None:
    assert short("0123456789abcdef") == "0123456789"
    assert short(None) == ""
    assert [task_place(s) for s in (Step.CHECK_UNIT, Step.TEST_PREPROD, Step.TEST_PRODUCTION)] == [
        "development",
        "preprod",
        "production",
    ]


PATCH = """diff --git a/cart.py b/cart.py
index 1111111..2222222 100644
--- a/cart.py
+++ b/cart.py
@@ -1,3 +1,3 @@ def pay():
 same <b>
-old --- line
+++ new
\\ No newline at end of file
@@ -10 +10,2 @@
+added
 last
diff --git a/a b/x y.txt b/a b/x y.txt
new file mode 100644
--- /dev/null
+++ b/a b/x y.txt
@@ -0,0 +1 @@
+hello
diff --git a/pic.png b/pic.png
index 1..2 100644
Binary files a/pic.png and b/pic.png differ
"""


def test_a_patch_is_read_into_files_and_numbered_lines() -> None:
    changes = (
        FileChange("cart.py", 2, 1),
        FileChange("a b/x y.txt", 1, 0),
        FileChange("pic.png", None, None),
        FileChange("bundle.js", 90_000, 0),
    )
    cart, text, picture, bundle = files_of(Patch(changes, PATCH, ("bundle.js",)))
    assert [(line.kind, line.old, line.new, line.text) for line in cart.lines] == [
        ("hunk", None, None, "def pay():"),
        ("same", 1, 1, "same <b>"),
        ("del", 2, None, "old --- line"),
        ("add", None, 2, "++ new"),
        ("hunk", None, None, ""),
        ("add", None, 10, "added"),
        ("same", 10, 11, "last"),
    ]
    assert [line.text for line in text.lines if line.kind == "add"] == ["hello"]
    assert (picture.lines, picture.note, bundle.lines, bundle.note) == ((), "binary", (), "large")


def test_a_line_of_a_minified_file_is_cut() -> None:
    text = f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+{'y' * 100_000}\n"
    line = files_of(Patch((FileChange("x", 1, 0),), text, ()))[0].lines[-1]
    assert len(line.text) == LINE_LIMIT + 1


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader_of_patches(text: str) -> None:
    files_of(Patch((FileChange("x", 1, 0),), "diff --git a/x b/x\n" + text, ()))


def span(began: float, ended: float, spent: Spent = Spent.WORK) -> Span:
    return Span(
        spent=spent,
        step=Step.PROMOTE,
        attempt=1,
        began=MOMENT + timedelta(hours=began),
        ended=MOMENT + timedelta(hours=ended),
    )


def test_a_timeline_has_a_lane_for_each_kind_and_shows_the_shortest_step() -> None:
    spans = [span(0, 0.0001), span(1, 9, Spent.PEOPLE), span(9, 10, Spent.QUEUE)]
    line = charts.timeline(spans, began=MOMENT, ended=MOMENT + timedelta(hours=10))
    assert [bar.y for bar in line.bars] == sorted({bar.y for bar in line.bars})
    assert line.bars[0].width == charts.LEAST_WIDTH
    assert line.bars[1].x == pytest.approx(96)
    assert line.bars[1].width == pytest.approx(768)
    assert [int(tick.label) for tick in line.ticks] == [0, 7200, 14400, 21600, 28800, 36000]


hours = st.floats(-10, 2000, allow_nan=False)


@given(st.lists(st.tuples(hours, st.floats(0, 500)), max_size=8), st.floats(0, 3000))
def test_nothing_is_drawn_outside_the_picture_to_its_left_or_with_less_than_no_width(
    what: list[tuple[float, float]], whole: float
) -> None:
    spans = [span(began, began + lasted) for began, lasted in what]
    line = charts.timeline(spans, began=MOMENT, ended=MOMENT + timedelta(hours=whole))
    assert all(bar.x >= 0 and bar.width >= charts.LEAST_WIDTH and bar.height > 0 for bar in line.bars)
    assert 1 <= len(line.ticks) <= 40


@given(st.lists(st.none() | st.floats(0, 1e8), min_size=1, max_size=60))
def test_columns_stay_within_their_plot(values: list[float | None]) -> None:
    labels = [""] * len(values)
    for steps in ((), charts.DURATIONS):
        plot = charts.plot(values, labels=labels, tips=labels, scale=str, steps=steps)
        for column in plot.columns:
            assert plot.left <= column.x
            assert column.x + column.width <= plot.width
            assert all(y >= 0 and height >= 0 and y + height <= plot.height for y, height in column.parts)
        assert 2 <= len(plot.lines) <= 40


def test_parts_of_a_column_stand_on_each_other() -> None:
    plot = charts.plot([3.0], labels=["w"], tips=["t"], scale=str, parts=[(2.0, 1.0)], steps=(1,), least=1)
    (lower_y, lower), (upper_y, upper) = plot.columns[0].parts
    assert upper_y + upper == pytest.approx(lower_y, abs=0.2)
    assert lower == pytest.approx(2 * upper, abs=0.2)


def stands(*tasks: tuple[Step, str, float, float | None]) -> Station:
    """Return the station of the first task's row; times in minutes."""
    row = next(row for row in PROCESS if tasks[0][0] in row.steps)
    views = [
        StepView(
            number=row.number,
            title=row.title,
            who="",
            task=step,
            state=state,
            started=MOMENT + timedelta(minutes=began),
            ended=None if ended is None else MOMENT + timedelta(minutes=ended),
            try_number=1,
        )
        for step, state, began, ended in tasks
    ]
    return station(row, tuple(views), here="")


def test_a_station_took_what_its_tasks_took_not_what_lay_between_two_attempts() -> None:
    repeated = stands((Step.RESERVE_DEVELOPMENT, "done", 0, 1), (Step.PROVISION_DEVELOPMENT, "done", 300, 302))
    assert (repeated.state, repeated.seconds) == ("done", 180)
    beside = stands((Step.CHECK_UNIT, "done", 0, 5), (Step.CHECK_SYNTAX, "done", 1, 2))
    assert beside.seconds == 300


def test_a_station_runs_since_its_running_task_began() -> None:
    again = stands((Step.RESERVE_DEVELOPMENT, "done", 0, 1), (Step.PROVISION_DEVELOPMENT, "running", 300, None))
    assert (again.state, again.since, again.seconds) == ("running", MOMENT + timedelta(minutes=300), None)
