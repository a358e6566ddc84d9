"""`python -m sbc` is `sbc`."""

import sys

from sbc.cli import main

sys.exit(main())
