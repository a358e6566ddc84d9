"""sbc: a SIP redundancy proxy and local survivability gateway."""

import os

__version__ = "0.1.0"

if os.environ.get("SBC_PURE_PYTHON") == "1":
    from sbc import _pure

    _pure.prefer_sources()
