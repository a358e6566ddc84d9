"""For all tests: property tests repeat themselves where nobody is there to look at a surprise."""

import os

from hypothesis import settings

# A change is judged by the same examples every time. New ones are looked for by hand:
# HYPOTHESIS_PROFILE=search FUZZ_EXAMPLES=20000 python -m pytest tests/fuzz
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))
