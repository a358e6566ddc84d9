"""Lets the compiled modules run as the plain Python they are written in (SBC_PURE_PYTHON=1).

For debugging and for coverage, and the tests run once this way. Modules whose source is in `ext/` have no Python form and
stay compiled.
"""

import importlib.machinery
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent


class _SourceFirst(importlib.machinery.FileFinder):
    """A finder for our own folders that sees the `.py` before the extension module of the same name."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
        )


def _hook(path: str) -> _SourceFirst:
    if not Path(path).is_relative_to(_PACKAGE):
        raise ImportError(path)
    return _SourceFirst(path)


def prefer_sources() -> None:
    """From now on, import `sbc` modules from source where there is one. Call before anything else of `sbc` is imported."""
    sys.path_hooks.insert(0, _hook)
    for path in [entry for entry in sys.path_importer_cache if Path(entry).is_relative_to(_PACKAGE)]:
        del sys.path_importer_cache[path]
