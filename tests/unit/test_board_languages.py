"""Languages: nothing is left untranslated, nothing translated says something else, sentences keep to their sources."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

import feature_delivery
from feature_delivery.domain.outbox import Errand
from feature_delivery.domain.people import DecisionKind
from feature_delivery.domain.process import GATES, PROCESS, Who
from feature_delivery.domain.records import AttemptState, FeatureState, PromotionState
from feature_delivery.services.control.board import Stage
from feature_delivery.services.control.journey import Spent
from feature_delivery.web.board import words
from feature_delivery.web.board.language import LOCALES, chosen, languages
from feature_delivery.web.board.sentences import PATTERNS, _between, translated

PACKAGE = Path(feature_delivery.__file__).parent
BOARD = PACKAGE / "web" / "board"
CATALOGUES = sorted(LOCALES.glob("*/LC_MESSAGES/board.po"))
SOURCES = (
    "domain/people.py",
    "domain/project.py",
    "domain/suites.py",
    "domain/judging/beside.py",
    "domain/judging/sentences.py",
    "services/work/observing.py",
    "services/control/decide.py",
    "services/control/verdict.py",
    "services/control/flags.py",
    "services/control/glass.py",
    "web/board/csrf.py",
    "web/board/routes.py",
)
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


def extracted() -> set[str | tuple[str, ...]]:
    found = extract_from_dir(
        BOARD,
        [("**.py", "python"), ("templates/**.html", "jinja2")],
        options_map={"templates/**.html": {"newstyle_gettext": "true"}},
        keywords={"N_": None, "_": None, "ngettext": (1, 2), "text": None},
    )
    return {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found}


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3])


def test_there_is_russian() -> None:
    assert "ru" in languages()


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_catalogue_has_every_message_and_no_other(path: Path) -> None:
    known = {m.id if isinstance(m.id, str) else tuple(m.id) for m in catalogue(path) if m.id}
    wanted = extracted()
    assert len(wanted) > 200, "the messages were not found in the sources"
    assert wanted - known == set(), f"add them to {path.name}"
    assert known - wanted == set(), f"nobody says them any more: remove them from {path.name}"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_translation_is_there_with_the_same_placeholders(path: Path) -> None:
    for message in catalogue(path):
        if not message.id:
            continue
        forms = [message.string] if isinstance(message.string, str) else list(message.string or ())
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        wanted = set(PLACEHOLDER.findall(ids[-1]))
        for form in forms:
            assert form.strip(), message.id
            assert set(PLACEHOLDER.findall(form)) == wanted, message.id
        assert not message.fuzzy, message.id


def test_every_value_of_the_domain_has_a_word() -> None:
    assert words.STAGES.keys() == set(Stage)
    assert words.GATES.keys() == GATES
    assert words.WHO.keys() == set(Who)
    assert words.FEATURE_STATES.keys() == set(FeatureState)
    assert words.ATTEMPT_STATES.keys() == set(AttemptState)
    assert words.PROMOTION_STATES.keys() == set(PromotionState)
    assert words.DECISIONS.keys() == words.DECIDED.keys() == set(DecisionKind)
    assert words.ERRANDS.keys() == set(Errand)
    assert words.SPENT.keys() == words.SPENT_SHORT.keys() == set(Spent)
    assert words.STATIONS.keys() == {row.title for row in PROCESS}
    assert words.word("stage", "of a later version") == "of a later version"


def spoken() -> Iterator[tuple[str, ...]]:
    """Every text of the sources as its literal parts."""
    for source in SOURCES:
        for node in ast.walk(ast.parse((PACKAGE / source).read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield (node.value,)
            elif isinstance(node, ast.JoinedStr):
                parts = [""]
                for value in node.values:
                    if isinstance(value, ast.Constant):
                        parts[-1] += str(value.value)
                    else:
                        parts.append("")
                yield tuple(parts)


def test_every_pattern_is_a_sentence_that_is_really_said() -> None:
    said = set(spoken())
    for pattern in PATTERNS:
        assert tuple(re.split(r"%\(\w+\)s", pattern)) in said, pattern


def test_a_sentence_is_translated_with_what_it_names() -> None:
    text = languages()["ru"].text
    said = "dan is not tester of this project: tina, tom may decide at preprod.wait_for_acceptance."
    assert translated(said, text) == "dan в этом проекте не тестировщик: «Приёмка» решает tina, tom."
    assert translated("1 approval of: tess.", text) == "Нужно одобрений: 1. Решает: tess."


def test_a_sentence_within_a_sentence_is_translated_too() -> None:
    text = languages()["ru"].text
    said = "Keep or roll back: max may say so. 8 integration tests passed."
    assert translated(said, text) == "Оставить или откатить — решает max. Интеграционные тесты прошли: 8."
    observed = translated("Keep or roll back: max may say so. 8 integration tests passed. Errors: 0.1 %.", text)
    assert observed.endswith("Интеграционные тесты прошли: 8. Ошибки: 0.1 %.")


def test_what_was_measured_is_said_in_the_readers_words() -> None:
    text = languages()["ru"].text
    said = (
        "Keep or roll back: max, olga may say so. 8 integration tests passed. Watched for 15 seconds by the probe of "
        "http://127.0.0.1:21697/healthz. Availability: 100 %. Answer to the probe: 6.53 ms after 3.08 ms: no worse "
        "than before."
    )
    assert translated(said, text) == (
        "Оставить или откатить — решает max, olga. Интеграционные тесты прошли: 8. Наблюдали 15 сек.: проверка "
        "http://127.0.0.1:21697/healthz. Доступность: 100 %. Ответ на проверку: 6.53 мс вместо 3.08 мс: не хуже, чем "
        "было."
    )
    assert translated(said, languages()["en"].text) == said
    worse = "Errors: 4.2 % after 0.1 % (+4100 %): worse, and not by chance (p 0.0012)."
    assert translated(worse, text) == "Ошибки: 4.2 % вместо 0.1 % (+4100 %): хуже, и не случайно (p 0.0012)."
    assert translated("Checkouts: 3 ms, limit 2 ms.", text) == "Checkouts: 3 мс, предел 2 мс."


def test_a_gate_is_a_word_in_every_language() -> None:
    said = "dan is not tester of this project: tina may decide at preprod.wait_for_acceptance."
    assert translated(said, languages()["en"].text).endswith("tina may decide at Acceptance.")
    assert translated("Wait for preprod.wait_for_acceptance.", languages()["ru"].text) == "Wait for Приёмка."


def test_who_rejected_where_is_said_without_a_word_of_another_language() -> None:
    said = "tess at preprod.wait_for_acceptance: Wrong at preprod.deploy: 12 cents."
    assert translated(said, languages()["ru"].text) == "tess, Приёмка: Wrong at preprod.deploy: 12 cents."
    assert translated(said, languages()["en"].text) == "tess, Acceptance: Wrong at preprod.deploy: 12 cents."


def test_a_sentence_that_nobody_knows_stays_as_it_was_said() -> None:
    for said in ("Something new happened.", "", "1 approval of: tess. And more", "%(x)s {x} %s"):
        assert translated(said, languages()["en"].text) == said
        assert translated("Something new happened.", languages()["ru"].text) == "Something new happened."


def test_what_people_wrote_into_a_sentence_is_not_read_as_a_pattern() -> None:
    said = "Production is frozen: 100% of %(reason)s {0}"
    assert translated(said, languages()["ru"].text) == "Прод заморожен: 100% of %(reason)s {0}"


@pytest.mark.parametrize(
    ("wanted", "remembered", "accepted", "code"),
    [
        ("", "", "", "en"),
        ("", "", "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("", "", "de,en;q=0.8,ru;q=0.7", "en"),
        ("", "", "en;q=0.1, RU;q=0.9", "ru"),
        ("", "", "ru;q=0", "en"),
        ("", "", "ru;q=nonsense,;;;,", "en"),
        ("", "ru", "en", "ru"),
        ("en", "ru", "ru", "en"),
        ("xx", "../../etc", "tlh", "en"),
    ],
)
def test_the_language_is_the_readers(wanted: str, remembered: str, accepted: str, code: str) -> None:
    assert chosen(wanted, remembered, accepted).code == code


@pytest.mark.parametrize(
    ("seconds", "fine", "coarse"),
    [
        (0, "0", "0"),
        (0.4, "0", "0"),
        (-5, "0", "0"),
        (59, "59 s", "59 s"),
        (61, "1 min 1 s", "1 min"),
        (3600, "1 h", "1 h"),
        (3659, "1 h", "1 h"),
        (3660, "1 h 1 min", "1 h 1 min"),
        (90061, "1 d 1 h", "1 d 1 h"),
        (86400 * 400, "400 d", "400 d"),
        (timedelta(hours=2), "2 h", "2 h"),
        (None, "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float | timedelta | None, fine: str, coarse: str) -> None:
    english = languages()["en"]
    assert english.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == fine
    assert english.duration(seconds, coarse=True).replace("\N{NO-BREAK SPACE}", " ") == coarse


def test_plurals_numbers_and_moments_are_the_languages_own() -> None:
    russian = languages()["ru"]
    tests = [russian.plural("%(num)d test", "%(num)d tests", n) % {"num": n} for n in (1, 2, 5, 11, 21)]
    assert tests == ["1 тест", "2 теста", "5 тестов", "11 тестов", "21 тест"]
    assert (russian.number(1.25), languages()["en"].number(1.25)) == ("1,2", "1.2")
    at = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)
    assert "мар" in russian.moment(at)
    assert languages()["en"].moment(at) == "2 Mar 2026, 09:05"
    assert (russian.name, languages()["en"].name) == ("Русский", "English")


def test_what_was_said_at_a_decision_stays_as_it_was_said() -> None:
    said = "tess: reject at preprod.wait_for_acceptance: 1 approval of: preprod.wait_for_confirmation."
    for language in ("ru", "en"):
        gate = translated("preprod.wait_for_acceptance", languages()[language].text)
        shown = translated(said, languages()[language].text)
        assert shown == f"tess: reject at {gate}: 1 approval of: preprod.wait_for_confirmation."


PIECES = sorted({part for pattern in PATTERNS for part in re.split(r"%\(\w+\)s", pattern)})


@given(st.sampled_from(PATTERNS), st.lists(st.sampled_from([*PIECES, "SHOP-1", "rita", " ", ": ", "\n"]), max_size=8))
def test_values_are_found_where_the_shortest_match_has_them(pattern: str, values: list[str]) -> None:
    """The reference tries every way, as a regular expression does; that takes minutes on a long comment."""
    split = re.split(r"%\(\w+\)s", pattern)
    filled = [part + value for part, value in zip_longest(split, values[: len(split) - 1], fillvalue="")]
    for sentence in ("".join(filled), "".join(values)):
        found = re.fullmatch("(.*?)".join(map(re.escape, split)), sentence, re.DOTALL)
        assert _between(split, sentence) == (list(found.groups()) if found else None)


def test_the_longest_comment_costs_the_board_nothing() -> None:
    """It took minutes, in the server that answers everybody: with every change, for every open page."""
    text = languages()["ru"].text
    began = time.process_time()
    for piece in ("a: worse, and not by chance (p ", "Errors: 1 after 1", "a is not b of this project: c, limit "):
        said = (piece * 1000)[:10_000]
        assert translated(said, text).startswith(piece[0] if piece[0] == "a" else "Ошибки")
    assert time.process_time() - began < 1
