"""For all tests: property tests repeat themselves where nobody is there to look at a surprise; who runs with whom."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import pytest
from hypothesis import settings

# A change is judged by the same examples every time. New ones are looked for by hand:
# HYPOTHESIS_PROFILE=search FUZZ_EXAMPLES=20000 python -m pytest tests/fuzz
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadscope`: tests that share what a fixture has started stay together, every other one is by itself."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def shares(file: str) -> bool:
        return 'scope="module"' in (config.rootpath / file).read_text("utf-8")

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if shares(file) else nodeid

    return Together(config, log)
