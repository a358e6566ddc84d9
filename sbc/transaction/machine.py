# cython: boundscheck=False, wraparound=False
# (A table is as large as its largest state and input; both come from the enums of its machine.)
"""What the four state machines share: their table, made fast to look up, and one timer.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import cython

from sbc.sip.errors import LocalError

if cython.compiled:
    from cython.cimports.sbc.transaction.interface import Transaction
    from cython.cimports.sbc.transaction.ledger import Ledger
else:
    from sbc.transaction.interface import Transaction
    from sbc.transaction.ledger import Ledger

COMPILED = bool(cython.compiled)

Transitions = Mapping[tuple[Any, Any], tuple[Any, str]]
"""{(state, input): (next state, name of the action)}"""


@cython.cclass
class Table:
    """Transitions as two flat lists, one place for each (state, input), with the methods in the place of their names.

    `what` names the machine in errors; `machine` is the class that has the actions, with an underscore before each.
    """

    _what: str
    _states: object
    _inputs: object
    _width: cython.Py_ssize_t
    _next_states: list
    _actions: list

    def __init__(
        self, what: str, transitions: Transitions, machine: type, states: type[IntEnum], inputs: type[IntEnum]
    ) -> None:
        self._what = what
        self._states = states
        self._inputs = inputs
        self._width = max(inputs) + 1
        places = (max(states) + 1) * self._width
        self._next_states = [0] * places
        self._actions = [None] * places
        for (state, event), (next_state, action) in transitions.items():
            place = state * self._width + event
            self._next_states[place] = int(next_state)
            self._actions[place] = getattr(machine, "_" + action)


@cython.cclass
class Machine(Transaction):
    """A transaction with its table and its state."""

    layer: Ledger
    _table: Table
    _state: cython.int
    _event: cython.int  # the input that the timer stands for

    @property
    def state(self) -> IntEnum:
        return self._table._states(self._state)

    @cython.ccall
    def _take(self, event: cython.int, what: object = None):
        place: cython.Py_ssize_t = self._state * self._table._width + event
        action = self._table._actions[place]
        if action is None:
            name = self._table._inputs(event).name
            raise LocalError(f"{self.method} {self._table._what}: {name} while {self.state.name}")
        self._state = self._table._next_states[place]
        action(self, what)

    @cython.cfunc
    def _wait(self, delay: cython.double, event: cython.int):
        """`event` happens after so many seconds, and nothing else that was waited for."""
        self._event = event
        self.layer.queue.arm(self, self.layer.queue.now(), delay)

    @cython.cfunc
    def fire(self):
        self._take(self._event, None)
