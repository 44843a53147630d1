"""Rules for shops with names of their own: the alerts that everybody has fire for them, and only for them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.names import BranchName, ProjectName
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.own_rules import WINDOWS, named_in_production, own_rules
from tests.support.bench import BRANCH, DELIVERY
from tests.support.git_world import PRODUCTION, GitWorld
from tests.support.prometheus import MONITORING, needs_prometheus

TOYS, WINE, TEA = ProjectName("toys"), ProjectName("wine"), ProjectName("tea")
SHOPS = {
    WINE: ShopMetrics(requests="pages_total", errors='pages_total{result="crash"}'),
    TOYS: ShopMetrics(requests="hits_total", errors="crashes_total{}", duration="took_seconds{kind='page'}"),
    TEA: ShopMetrics(duration="answer_seconds"),
}
MINUTES = 120


def rules(text: str) -> dict[str, dict[str, str]]:
    """Expressions by group and recorded name."""
    groups = yaml.safe_load(text)["groups"]
    return {group["name"]: {rule["record"]: rule["expr"] for rule in group["rules"]} for group in groups}


def test_the_file_is_the_same_for_the_same_names_in_whatever_order() -> None:
    text = own_rules(SHOPS)
    assert text == own_rules(dict(reversed(SHOPS.items())))
    assert list(rules(text)) == ["own names of tea", "own names of toys", "own names of wine"]
    assert text.startswith("# Written by 'feature-delivery monitoring rules'")


def test_without_such_a_shop_there_are_no_rules() -> None:
    assert yaml.safe_load(own_rules({})) == {"groups": []}


def test_every_expression_is_promql_of_one_project_and_of_what_is_scraped() -> None:
    for group, found in rules(own_rules(SHOPS)).items():
        for record, expression in found.items():
            assert promql_parser.parse(expression) is not None, record
            selectors = re.findall(r"\{([^{}]*)\}", expression)
            assert selectors
            assert all(f'job="shops",project="{group.rpartition(" ")[2]}"' in one for one in selectors)


def test_a_histogram_counts_the_requests_of_a_shop_that_names_nothing_else() -> None:
    found = rules(own_rules(SHOPS))["own names of tea"]
    assert set(found) == {f"shop:own_{what}:rate{w}" for what in ("requests", "duration_bucket") for w in WINDOWS}
    assert found["shop:own_requests:rate5m"] == (
        'sum by (project, environment, feature) (rate(answer_seconds_count{job="shops",project="tea"}[5m]))'
    )


def test_the_shipped_rules_begin_with_exactly_the_names_that_are_written() -> None:
    written = {record for found in rules(own_rules(SHOPS)).values() for record in found}
    shipped = (MONITORING / "rules" / "shops.yml").read_text()
    asked = set(re.findall(r"shop:own_[a-z_]+:rate[0-9a-z]+", shipped))
    # Errors over ten minutes are in no rule.
    assert written - asked == {"shop:own_errors:rate10m"}
    assert asked <= written


@pytest.mark.parametrize(
    "name",
    [
        'hits_total{result="a"} or vector(1)',
        "hits_total{result=}",
        'hits_total{result="a" project="b"}',
        'hits_total{a="b"',
        "hits total",
        'hits_total{a="b\\"}',
        "",
    ],
)
def test_a_name_that_prometheus_would_not_understand_spoils_no_file(name: str) -> None:
    with pytest.raises(Misconfigured, match="Could not write rules for toys"):
        own_rules({TOYS: ShopMetrics(requests="hits_total", errors=name or " ")})


def test_matchers_may_hold_whatever_prometheus_takes() -> None:
    errors = 'hits_total{ result !~ "2..|\\\\d{3}" , why="a \\"b\\" }, {",}'
    expression = rules(own_rules({TOYS: ShopMetrics(requests="hits_total", errors=errors)}))["own names of toys"][
        "shop:own_errors:rate5m"
    ]
    assert promql_parser.parse(expression) is not None


PLACE = f'job="shops",project="{TOYS}",environment="production",feature=""'
PROMISES = {
    f'feature_delivery_slo_availability{{project="{TOYS}"}}': f"0.999x{MINUTES}",
    f'feature_delivery_slo_latency{{project="{TOYS}",le="0.5"}}': f"0.95x{MINUTES}",
}
ALERTS = ("ProductionErrorBudgetBurnFast", "ProductionLatencyBudgetBurnFast")


def counts(name: str, pace: int, **labels: str) -> dict[str, str]:
    """One series that grows evenly."""
    own = "".join(f',{label}="{value}"' for label, value in labels.items())
    return {f"{name}{{{PLACE}{own}}}": f"0+{pace}x{MINUTES}"}


def case(series: dict[str, str], *, ratios: dict[str, float], fires: bool) -> dict[str, Any]:
    """A case of promtool's: the shares of the last hour, and whether both promises page."""
    labels = f'project="{TOYS}", environment="production", feature=""'
    expected = [
        {
            "expr": f'{record}{{project="{TOYS}"}}',
            "eval_time": "2h",
            "exp_samples": [{"labels": f"{record}{{{labels}}}", "value": value}],
        }
        for record, value in ratios.items()
    ]
    firing = {
        "expr": 'count(ALERTS{alertstate="firing",severity="critical"})',
        "eval_time": "2h",
        "exp_samples": [{"labels": "{}", "value": len(ALERTS)}] if fires else [],
    }
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in (PROMISES | series).items()],
        "promql_expr_test": [*expected, firing],
    }


def test_the_alerts_that_everybody_has_work_for_a_shop_with_names_of_its_own(tmp_path: Path) -> None:
    needs_prometheus()
    failing = {
        **counts("hits_total", 1024, instance="a"),
        **counts("crashes_total", 128, instance="a"),
        **counts("took_seconds_bucket", 128, le="0.5", kind="page"),
        **counts("took_seconds_bucket", 1024, le="+Inf", kind="page"),
        # What else is measured there is nothing that the shop is judged by.
        **counts("took_seconds_bucket", 90_000, le="0.5", kind="image"),
        **counts("took_seconds_bucket", 90_000, le="+Inf", kind="image"),
        **counts("http_requests_total", 90_000, status="200"),
        **counts("http_request_duration_seconds_bucket", 90_000, le="0.1"),
        **counts("http_request_duration_seconds_bucket", 90_000, le="+Inf"),
    }
    sound = {
        **counts("hits_total", 1000),
        **counts("http_requests_total", 500, status="500"),
        **counts("took_seconds_bucket", 1000, le="0.5", kind="page"),
        **counts("took_seconds_bucket", 1000, le="+Inf", kind="page"),
    }
    ratios = ("shop:error_ratio:rate1h", "shop:slow_ratio:rate1h")
    cases = [
        case(failing, ratios=dict(zip(ratios, (0.125, 0.875), strict=True)), fires=True),
        # Nothing has crashed yet, so that series is not there; another one's errors are not the shop's.
        case(sound, ratios=dict.fromkeys(ratios, 0.0), fires=False),
    ]
    shutil.copy(MONITORING / "rules" / "shops.yml", tmp_path)
    tmp_path.joinpath("own.yml").write_text(own_rules(SHOPS))
    tests = {
        "rule_files": ["own.yml", "shops.yml"],
        "evaluation_interval": "5m",
        "group_eval_order": [*rules(own_rules(SHOPS)), "shops", "promises"],
        "tests": cases,
    }
    tmp_path.joinpath("own.test.yml").write_text(yaml.safe_dump(tests))
    for command in (["check", "rules", "own.yml"], ["test", "rules", "own.test.yml"]):
        done = subprocess.run(
            ["promtool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_names_are_those_of_production_and_no_branchs(tmp_path: Path) -> None:
    files = {"delivery.yaml": DELIVERY + "metrics: {path: /metrics, requests: hits_total}\n"}
    world = GitWorld.make(tmp_path, files=files)
    world.commit(BRANCH, {"delivery.yaml": DELIVERY + "metrics: {path: /metrics, requests: mine_total}\n"})
    repository = GitRepository(str(world.host), tmp_path / "mirror.git")
    assert named_in_production(repository, PRODUCTION) == ShopMetrics(requests="hits_total")
    assert named_in_production(repository, BranchName("main")) == ShopMetrics()


@pytest.mark.parametrize("files", [{"README": "x"}, {"delivery.yaml": DELIVERY}], ids=["no file", "the common names"])
def test_a_shop_that_names_nothing_keeps_to_the_common_names(tmp_path: Path, files: dict[str, str]) -> None:
    world = GitWorld.make(tmp_path, files=files)
    repository = GitRepository(str(world.host), tmp_path / "mirror.git")
    assert named_in_production(repository, PRODUCTION) == ShopMetrics()
