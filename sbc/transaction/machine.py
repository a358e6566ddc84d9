"""What the four state machines share: rows bound to their actions, and timers that can be stopped at any time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sbc.clock import Delayed

Transitions = Mapping[tuple[Any, Any], tuple[Any, str]]
"""{(state, input): (next state, name of the action)}"""


def bind(transitions: Transitions, machine: type) -> dict[tuple[Any, Any], tuple[Any, Any]]:
    """The table with each action's name replaced by the method of `machine` that has it."""
    return {pair: (state, getattr(machine, "_" + action)) for pair, (state, action) in transitions.items()}


def stop(timer: Delayed | None) -> None:
    """Cancel a timer that may not run, or not any more."""
    if timer is not None and timer.active():
        timer.cancel()
