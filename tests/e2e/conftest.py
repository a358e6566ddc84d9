"""Fixtures of the end-to-end tests, and the peers' logs in the report of a test that failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.peers import Peers, missing_programs

TAIL = 4000
"""Characters of each log shown when a test fails; the whole logs stay in the test's folder."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = missing_programs()
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)
            if missing:
                reason = f"not installed: {', '.join(missing)} (tests/run installs them)"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    """Starts phones and servers for one test and stops them all after it, also when it failed."""
    started = Peers(tmp_path)
    try:
        yield started
    finally:
        started.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call" and report.failed and "peers" in getattr(item, "funcargs", {}):
        folder = item.funcargs["peers"].folder
        for log in sorted(folder.glob("*.log")):
            report.sections.append((str(log), log.read_text(errors="replace")[-TAIL:]))
    return report
