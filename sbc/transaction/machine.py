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
"""{(state, input): (next state, name of the action)}. States and inputs count from 1."""


@cython.cclass
class Table:
    """Transitions as two flat rows of small numbers, one place for each (state, input).

    `what` names the machine in errors; `actions` numbers the actions for `Machine._act`.
    """

    _what: str
    _states: object
    _inputs: object
    _width: cython.Py_ssize_t
    _next_states: bytes  # 0 where an input cannot happen
    _actions: bytes

    def __init__(
        self,
        what: str,
        transitions: Transitions,
        states: type[IntEnum],
        inputs: type[IntEnum],
        actions: type[IntEnum],
    ) -> None:
        self._what = what
        self._states = states
        self._inputs = inputs
        self._width = max(inputs) + 1
        next_states = bytearray((max(states) + 1) * self._width)
        numbers = bytearray(len(next_states))
        for (state, event), (next_state, action) in transitions.items():
            place = state * self._width + event
            next_states[place] = next_state
            numbers[place] = actions[action.upper()]
        self._next_states = bytes(next_states)
        self._actions = bytes(numbers)


@cython.cclass
class Machine(Transaction):
    """A transaction with its table and its state."""

    layer: Ledger
    _table: Table
    method_code: cython.uchar  # of the scanner
    _state: cython.uchar
    _event: cython.uchar  # the input that the timer stands for

    @property
    def state(self) -> IntEnum:
        return self._table._states(self._state)

    @cython.ccall
    def _take(self, event: cython.int, what: object):
        """This happened: go to the next state, and do what the table says. `what` came with it: a message, a cause."""
        table: Table = self._table
        place: cython.Py_ssize_t = self._state * table._width + event
        next_state: cython.int = table._next_states[place]
        if next_state == 0:
            name = table._inputs(event).name
            raise LocalError(f"{self.method} {table._what}: {name} while {self.state.name}")
        self._state = next_state
        self._act(table._actions[place], what)

    @cython.cfunc
    def _act(self, action: cython.int, what: object):
        """Do the action of this number."""
        raise NotImplementedError

    @cython.cfunc
    def _wait(self, delay: cython.double, event: cython.int):
        """`event` happens after so many seconds, and nothing else that was waited for."""
        self._event = event
        self.layer.queue.arm(self, self.layer.queue.now(), delay)

    @cython.cfunc
    def fire(self):
        self._take(self._event, None)
