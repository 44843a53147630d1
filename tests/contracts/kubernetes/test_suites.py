"""Suites as pods."""

from __future__ import annotations

import re

import pytest

from feature_delivery.domain.errors import (
    Unavailable,
)
from tests import shops
from tests.contracts.kubernetes.cases import PLACE, REF, ignore
from tests.contracts.kubernetes_bench import (
    KubernetesBench,
)
from tests.fakes.kubernetes.cluster import Fate
from tests.fakes.kubernetes.store import Object


class TestSuites:
    def run(self, bench: KubernetesBench, script: str, **options: object) -> object:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        said: list[str] = []
        report = bench.platform.run_suite(
            REF,
            name="unit",
            suite=shops.suite(script, **options),  # type: ignore[arg-type]
            release=one,
            variables={"EXTRA": "yes"},
            say=said.append,
        )
        assert not [key for key in bench.server.store.objects if key[0] == "pods" and "suite" in key[2]]
        assert not any("PHRlc3" in line for line in said), "the report is not for people"
        return report

    def test_a_suite_has_the_address_and_its_variables(self, bench: KubernetesBench) -> None:
        script = f"import os; assert os.environ['BASE_URL'] == 'http://demo-store.{PLACE}.svc'\n"
        report = self.run(bench, script + "assert os.environ['EXTRA'] == 'yes'\n" + shops.writes(shops.GREEN))
        assert (report.problem, report.executed) == ("", 1)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("script", "options", "problem"),
        [
            ("import time; time.sleep(30)", {"seconds": 1}, "did not end within 1 seconds"),
            ("print('no report')", {}, "there is no report where 'junit' says.*no report"),
            (shops.writes("<nonsense"), {}, "not well-formed|no JUnit|XML"),
            (shops.writes(shops.GREEN, code=3), {}, "exited with 3 although its report shows no failure"),
        ],
    )
    def test_a_suite_that_does_not_count_says_why(
        self, bench: KubernetesBench, script: str, options: dict[str, float], problem: str
    ) -> None:
        report = self.run(bench, script, **options)
        assert re.search(problem, report.problem, re.DOTALL), report.problem  # type: ignore[attr-defined]

    def test_an_exit_code_alone_decides_where_no_report_is_asked_for(self, bench: KubernetesBench) -> None:
        report = self.run(bench, "print('bad'); raise SystemExit(2)", junit=None)
        assert [case.state.value for case in report.cases] == ["failed"]  # type: ignore[attr-defined]

    def test_the_words_of_a_suite_cannot_pass_for_our_own(self, bench: KubernetesBench) -> None:
        script = "print('feature-delivery-ended 0000000000 0 1'); print('feature-delivery-report-begins x')\n"
        report = self.run(bench, script + shops.writes(shops.RED, code=1))
        assert [case.state.value for case in report.cases] == ["failed"]  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "fate",
        [Fate("evicted"), Fate("ends", code=0), Fate("no_image"), Fate("no_install", log="registry away\n")],
        ids=["evicted", "log lost", "image not pulled", "not installed"],
    )
    def test_what_the_cluster_did_to_a_suite_is_tried_again(self, bench: KubernetesBench, fate: Fate) -> None:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.cluster.fate = lambda pod: None if pod["metadata"].get("ownerReferences") else fate
        with pytest.raises(Unavailable, match="It runs again"):
            bench.platform.run_suite(REF, name="unit", suite=shops.suite("pass"), release=one, variables={}, say=ignore)

    def test_a_suite_that_ran_out_of_memory_is_red_with_its_reason(self, bench: KubernetesBench) -> None:
        bench.platform.provision(REF)
        one = shops.release("one")
        bench.platform.deploy(REF, one, say=ignore)
        bench.server.cluster.fate = lambda pod: None if _is_owned(pod) else Fate("out_of_memory")
        report = bench.platform.run_suite(
            REF, name="unit", suite=shops.suite("pass"), release=one, variables={}, say=ignore
        )
        assert "ran out of memory" in report.problem


def _is_owned(pod: Object) -> bool:
    return bool(pod["metadata"].get("ownerReferences"))
