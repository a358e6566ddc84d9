"""The phones counted, in one walk: how many stand how at which server, and which of them are worth a look: `Census`.

Ten thousand of them take a few milliseconds, and calls wait meanwhile; so nothing else is done here for each.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Iterable

import cython

from sbc.registration.bindings import REGISTERED

if cython.compiled:
    from cython.cimports.sbc.registration.bindings import Binding, Upstream
else:
    from sbc.registration.bindings import Binding, Upstream

COMPILED = bool(cython.compiled)

_REGISTERED = cython.declare(str, REGISTERED)


@cython.cclass
class Census:
    """`states`: (group, server, state) -> contacts. `everywhere`, `nowhere`: contacts that are registered at every server that
    was asked, and at none. `shown`: the first `most` contacts, and the first `most` of those that are not registered everywhere.
    """

    states: dict
    everywhere: cython.Py_ssize_t
    nowhere: cython.Py_ssize_t
    shown: list

    def __init__(self, bindings: Iterable[Binding], most: int = 0) -> None:
        self.states: dict[tuple[str, str, str], int] = {}
        self.everywhere = self.nowhere = 0
        self.shown: list[Binding] = []
        self._count(bindings, most)

    @cython.cfunc
    def _count(self, bindings: object, most: cython.Py_ssize_t):
        binding: Binding
        upstream: Upstream
        place: cython.Py_ssize_t = 0
        registered: cython.Py_ssize_t
        in_trouble: cython.Py_ssize_t = 0
        group: str = ""
        by_server: dict = {}  # of that group; nearly always the same one
        by_state: dict
        all_groups: dict = {}
        for binding in bindings:
            registered = 0
            if binding.group != group:
                group = binding.group
                by_server = all_groups.setdefault(group, {})
            for upstream in binding.upstreams:
                if upstream.state == _REGISTERED:
                    registered += 1
                by_state = by_server.get(upstream.server)
                if by_state is None:
                    by_state = by_server[upstream.server] = {}
                by_state[upstream.state] = by_state.get(upstream.state, 0) + 1
            if registered == 0:
                self.nowhere += 1
            if registered > 0 and registered == len(binding.upstreams):
                self.everywhere += 1
                if place < most:
                    self.shown.append(binding)
            else:
                in_trouble += 1
                if place < most or in_trouble <= most:
                    self.shown.append(binding)
            place += 1
        for group, by_server in all_groups.items():
            for server, by_state in by_server.items():
                for state, number in by_state.items():
                    self.states[group, server, state] = number
