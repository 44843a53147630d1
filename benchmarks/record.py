"""Record shops while releases come, for ``python benchmarks/run.py judge``: 45 minutes, two cores, Debian's Prometheus.

python benchmarks/record.py                          all shops, into benchmarks/recordings
python benchmarks/record.py steady night --minutes 20 --folder elsewhere

Of each shop two run side by side: one that is deployed again and again without a change, and one whose every second
release is really worse, a quarter slower or with two points more errors, the next one taking that back. As root,
everything gets real-time priority: what else runs on the machine is no part of the recording.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from recorder import Running, Stage, chosen, stage
from recording import FOLDER, Deployed, Recording
from regimes import BASELINE_SECONDS, FASTER, SCRAPE_SECONDS, STEP_SECONDS, WINDOW_SECONDS

from feature_delivery.adapters.measuring.prometheus import Prometheus
from feature_delivery.domain.login import Login
from feature_delivery.services.shop_metrics import customers_only, filled, queries, recognised, wanted_selector

BETWEEN_RELEASES_SECONDS = WINDOW_SECONDS + 4 * STEP_SECONDS
BEGIN_SECONDS = 20.0
"""Until every shop has been asked, scraped and warmed up."""

CHANGES: tuple[Mapping[str, str], ...] = ({"SHOP_SLOWER": "1.25"}, {}, {"SHOP_MORE_ERRORS": "0.02"}, {})


def main() -> int:
    """Record."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(143))
    priority = _before_others()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with stage(chosen(asked.shops), first_port=asked.port) as found:
        time.sleep(BEGIN_SECONDS)
        began = time.time()
        print(
            f"Recording {len(found.shops)} shops for {asked.minutes:g} minutes from {began:.0f} on, {priority}.",
            flush=True,
        )
        deployed = _releases(found, began, seconds=asked.minutes * 60)
        time.sleep(2 * SCRAPE_SECONDS)
        for shop in found.shops:
            _recorded(
                found, shop, deployed[shop.name], began=began, seconds=asked.minutes * 60, priority=priority
            ).write(asked.folder)
        if asked.keep is not None:
            shutil.copytree(found.scratch / "tsdb", asked.keep)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Record shops while releases come.")
    parser.add_argument("shops", nargs="*", help="of regimes.py; none named: all")
    parser.add_argument("--minutes", type=float, default=45, help="how long (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="keep Prometheus' data in this new folder, to ask it more")
    parser.add_argument("--port", type=int, default=18600, help="the first of a hundred ports (default: %(default)s)")
    return parser.parse_args()


def _before_others() -> str:
    """Take real-time priority for everything that is started; says what came of it."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    except PermissionError:
        return "without priority"
    return "with real-time priority"


def _releases(found: Stage, began: float, *, seconds: float) -> dict[str, list[Deployed]]:
    """Deploy all shops in turn until the time is over, after a first baseline."""
    deployed: dict[str, list[Deployed]] = {shop.name: [] for shop in found.shops}
    number, due = 0, began + BASELINE_SECONDS + 2 * STEP_SECONDS
    while due + WINDOW_SECONDS + 3 * STEP_SECONDS < began + seconds:
        for place, shop in enumerate(found.shops):
            time.sleep(max(0.0, due + place * 1.5 - time.time()))
            change = CHANGES[number % len(CHANGES)] if shop.changed else {}
            stopped, at = found.deploy(shop, change)
            done = Deployed(
                stopped=round(stopped - began, 2),
                at=round(at - began, 2),
                slower=float(change.get("SHOP_SLOWER", 1)),
                more_errors=float(change.get("SHOP_MORE_ERRORS", 0)),
            )
            print(f"{shop.name}: {done}", flush=True)
            deployed[shop.name].append(done)
        number += 1
        due += BETWEEN_RELEASES_SECONDS + len(found.shops) * 0.5
    time.sleep(max(0.0, began + seconds - time.time()))
    return deployed


def _recorded(
    found: Stage, shop: Running, deployed: list[Deployed], *, began: float, seconds: float, priority: str
) -> Recording:
    """Ask what ``production.observe`` would ask, over the whole time."""
    source = Prometheus(Login(connection="prometheus", url=found.prometheus))
    labels = {"project": shop.name, "environment": "production"}
    known = source.known(wanted_selector(labels), since=began, until=began + seconds)
    parts: dict[str, list[float | None]] = {}
    for one in queries(recognised(known), matcher=customers_only(known, ("/metrics", "/healthz"))):
        for name, query in ((one.rule.name, one.query), (f"{one.rule.name}:of", one.of)):
            if query:
                text = filled(query, labels=labels, step_seconds=STEP_SECONDS)
                parts[name] = _values(source, text, began, int(seconds / STEP_SECONDS))
    regime = shop.regime
    how = {
        "recorded": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "shop": "django-oscar, SQLite" if regime.work else "demo store, waiting for PostgreSQL",
        "time": f"{FASTER:g} times as fast: scraped each {SCRAPE_SECONDS:g} s, samples of {STEP_SECONDS:g} s",
        "machine": f"{os.cpu_count()} cores, {priority}, load {os.getloadavg()[1]:.1f}",
        "requests_per_second": regime.rate,
        "hour": regime.hour,
    }
    return Recording(
        shop=shop.name,
        tuned_on=regime.tuned_on,
        how=how,
        step_seconds=STEP_SECONDS,
        deployed=deployed,
        parts=parts,
    )


def _values(source: Prometheus, query: str, began: float, count: int) -> list[float | None]:
    found = dict.fromkeys(range(count))
    until = began + count * STEP_SECONDS
    for at, value in source.values(query, since=began + STEP_SECONDS, until=until, step_seconds=STEP_SECONDS):
        found[round((at - began) / STEP_SECONDS) - 1] = value
    return list(found.values())


if __name__ == "__main__":
    sys.exit(main())
