"""Which modules are compiled, and where Python finds them.

All of them are in one shared object. They call each other all the time, and what a shared object needs for itself (its data,
the addresses of what it calls) lies together then: a registration costs a tenth less than with an object for each of them.

Python would look for each in a file of its own, so it is told here. With SBC_PURE_PYTHON=1 those that are written in Python run
as they stand: for debugging and for coverage, and the tests run once this way. Those whose source is in `ext/` have no Python
form and stay compiled.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path

WRITTEN_IN_PYTHON = (
    "sbc.clock",
    "sbc.events",
    "sbc.flow",
    "sbc.location.candidate",
    "sbc.nonces",
    "sbc.observe.log",
    "sbc.observe.log_lines",
    "sbc.observe.metrics",
    "sbc.observe.phone_events",
    "sbc.observe.recent",
    "sbc.observe.story",
    "sbc.proxy.core",
    "sbc.proxy.destination",
    "sbc.proxy.edge",
    "sbc.proxy.network",
    "sbc.proxy.overload",
    "sbc.proxy.own_routes",
    "sbc.proxy.pins",
    "sbc.proxy.response_context",
    "sbc.proxy.route_cookie",
    "sbc.proxy.routes",
    "sbc.proxy.sides",
    "sbc.proxy.validation",
    "sbc.redundancy.group",
    "sbc.redundancy.health",
    "sbc.redundancy.order",
    "sbc.redundancy.outcome",
    "sbc.redundancy.plan",
    "sbc.registration.accounts",
    "sbc.registration.answers",
    "sbc.registration.archive",
    "sbc.registration.bindings",
    "sbc.registration.census",
    "sbc.registration.contacts",
    "sbc.registration.errand",
    "sbc.registration.exchange",
    "sbc.registration.expiry",
    "sbc.registration.leg",
    "sbc.registration.phone_book",
    "sbc.registration.quarantine",
    "sbc.registration.refreshes",
    "sbc.registration.registrar",
    "sbc.registration.rejections",
    "sbc.registration.results",
    "sbc.registration.rhythm",
    "sbc.registration.rota",
    "sbc.registration.settlement",
    "sbc.registration.shown",
    "sbc.registration.targets",
    "sbc.registration.turns",
    "sbc.registration.written",
    "sbc.sip.headers",
    "sbc.sip.message",
    "sbc.sip.unguessable",
    "sbc.sip.uri",
    "sbc.store.notes",
    "sbc.transaction.client",
    "sbc.transaction.interface",
    "sbc.transaction.layer",
    "sbc.transaction.ledger",
    "sbc.transaction.machine",
    "sbc.transaction.matching",
    "sbc.transaction.server",
    "sbc.transport.listeners",
    "sbc.transport.turning",
    "sbc.transport.udp",
    "sbc.workers.door",
)
"""In Cython's pure Python mode, each beside its `.pxd` if it needs one."""

WRITTEN_IN_CYTHON = {
    "sbc.sip.scanner": "ext/scanner.pyx",
    "sbc.sip.remembered": "ext/remembered.pyx",
    "sbc.sip.lines": "ext/lines.pyx",
    "sbc.sip.head": "ext/head.pyx",
    "sbc.sip.hop": "ext/hop.pyx",
    "sbc.sip.stencil": "ext/stencil.pyx",
    "sbc.transaction.branches": "ext/branches.pyx",
    "sbc.sip.writer": "ext/writer.pyx",
    "sbc.transport._datagrams": "ext/datagrams.pyx",
    "sbc.transport._turns": "ext/turns.pyx",
}
"""And the source of each: what cannot be written as Python at all (octets, system calls over arrays of structures)."""

SHARED_OBJECT = "sbc._compiled"
"""Its name for who builds it; there is no module of this name."""

PROFILE = "ext/profile.tar.xz"
"""What gcc has counted in each source of C under load, so that the usual way through it is the straight one: a refresh takes
a seventh less CPU. See `tests/bench/training.py`, which takes it."""

MEASURED = "measured"
"""In there: which compiler it is of, and the SHA-256 of each source as it was then."""


class _InSharedObject(MetaPathFinder):
    """Finds these modules in that file. Python asks for `PyInit_` and the last part of a name, so those differ."""

    def __init__(self, path: Path, names: Collection[str]) -> None:
        self._path = str(path)
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._names:
            return None
        if not Path(self._path).exists():
            raise ImportError(f"{self._path} is not built; deploy/setup-venv does that", name=fullname)
        loader = importlib.machinery.ExtensionFileLoader(fullname, self._path)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def find_compiled_modules(*, pure: bool) -> None:
    """From now on they are imported from the shared object, `pure`: only those without a Python form. Call before anything else of
    `sbc` is imported."""
    file_name = SHARED_OBJECT.rpartition(".")[2] + importlib.machinery.EXTENSION_SUFFIXES[0]
    names = WRITTEN_IN_CYTHON if pure else [*WRITTEN_IN_PYTHON, *WRITTEN_IN_CYTHON]
    sys.meta_path.insert(0, _InSharedObject(Path(__file__).with_name(file_name), names))
