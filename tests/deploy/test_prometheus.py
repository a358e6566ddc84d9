"""The scrape configuration and the alert rules, judged by Prometheus' own tool.

A machine without promtool fails these tests: a rule file that nobody checked is no rule file.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is not installed (Debian: apt install prometheus)"
    done = subprocess.run([program, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.e2e
def test_scrape_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


@pytest.mark.e2e
def test_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")


@pytest.mark.e2e
def test_rules_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_every_rule_has_a_test() -> None:
    """A new alert comes with a case that fires it."""
    alerts = set(re.findall(r"- alert: (\w+)", (FOLDER / "alerts.yml").read_text()))
    cases = (FOLDER / "alerts_test.yml").read_text()
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", cases))
    assert alerts == fired
    assert len(alerts) >= 9


def test_every_rule_says_how_urgent_it_is_and_what_to_do() -> None:
    rules = re.split(r"\n +- alert: ", (FOLDER / "alerts.yml").read_text())[1:]
    for rule in rules:
        assert re.search(r"severity: (page|ticket|info)\n", rule), rule
        assert "summary:" in rule, rule
        assert "description:" in rule, rule
