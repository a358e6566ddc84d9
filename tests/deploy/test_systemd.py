"""The systemd unit: valid, and hardened in fact."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy/systemd/sbc.service"

MOST_EXPOSURE = 20
"""In tenths, as `systemd-analyze security` counts; 100 is a service without any protection."""


def systemd_analyze(*arguments: str) -> str:
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is not installed (Debian: apt install systemd)"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser["Service"]


@pytest.mark.e2e
def test_verify_has_nothing_to_say() -> None:
    assert systemd_analyze("verify", str(UNIT)) == ""


@pytest.mark.e2e
def test_exposure_is_low() -> None:
    systemd_analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", str(UNIT))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("WatchdogSec", "10"),
        ("Restart", "always"),
        ("KillMode", "mixed"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("User", "sbc"),
        ("StateDirectory", "sbc"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
    ],
)
def test_what_the_appliance_relies_on(service: configparser.SectionProxy, key: str, value: str) -> None:
    assert service[key] == value


def test_a_wrong_configuration_is_not_tried_again(service: configparser.SectionProxy) -> None:
    """Exit status 2 says that the file is wrong."""
    assert service["RestartPreventExitStatus"] == "2"


def test_tls_can_make_its_callbacks(service: configparser.SectionProxy) -> None:
    """pyOpenSSL needs memory that is writable and executable; the unit must not forbid it."""
    assert service.get("MemoryDenyWriteExecute", "no") == "no"


def test_it_runs_the_command_that_the_package_installs(service: configparser.SectionProxy) -> None:
    assert re.fullmatch(r"/usr/bin/env sbc run -c /etc/sbc/sbc\.toml", service["ExecStart"])
