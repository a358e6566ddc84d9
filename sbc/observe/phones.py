"""The list of phones in status.json, kept short: ten thousand of them would be three megabytes, and writing those would
stop calls for as long as it takes.

Left are the first ones, and the first of those that a look is worth: not registered everywhere. How many there are of
each kind is said beside the list, of all phones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 200
"""Of the first phones, and again of those that are not registered everywhere."""


def with_numbers(registrations: Mapping[str, Any], *, most: int | None = MOST) -> dict[str, Any]:
    """The registrations with at most `most` phones of each sort (None: with all), and with these numbers:

    phones_everywhere  registered at every server that was asked
    phones_nowhere     registered at none
    phones_left_out    not in the list `phones`
    """
    phones: Sequence[Mapping[str, Any]] = registrations.get("phones", ())
    shown, everywhere, nowhere, worth_a_look = [], 0, 0, 0
    for place, phone in enumerate(phones):
        states = [server["state"] for server in phone.get("servers", ())]
        registered = states.count("registered")
        well = registered > 0 and registered == len(states)
        everywhere += well
        nowhere += not registered
        worth_a_look += not well
        if most is None or place < most or (not well and worth_a_look <= most):
            shown.append(phone)
    return {
        **registrations,
        "phones": shown,
        "phones_everywhere": everywhere,
        "phones_nowhere": nowhere,
        "phones_left_out": len(phones) - len(shown),
    }
