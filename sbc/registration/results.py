"""What the legs of one exchange have come to so far.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: loops, because a generator would
cost more than the legs that it runs over.
"""

from __future__ import annotations

import cython

from sbc.registration.leg import Ending

if cython.compiled:
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.targets import Targets
else:
    from sbc.registration.leg import Leg
    from sbc.registration.targets import Targets

COMPILED = bool(cython.compiled)

_ACCEPTED = cython.declare(object, Ending.ACCEPTED)
_REFUSED = cython.declare(object, Ending.REFUSED)
_UNREACHABLE = cython.declare(object, Ending.UNREACHABLE)


@cython.cfunc
def are_running(legs: list) -> cython.bint:
    """Is anything under way?"""
    leg: Leg
    for leg in legs:  # noqa: SIM110
        if leg.is_running():
            return True
    return False


@cython.cfunc
def is_decided(legs: list, targets: Targets) -> cython.bint:
    """Has a server refused in a way that is no other server's business (table D6: 403 and 404 are)? Unless a better one may
    still speak."""
    leg: Leg
    for leg in legs:
        if (
            leg.ending is _REFUSED
            and leg.response is not None
            and not targets.may_move_on(leg.response._status)
            and not _is_better_running(legs, leg)
        ):
            return True
    return False


@cython.cfunc
def _is_better_running(legs: list, than: Leg) -> cython.bint:
    leg: Leg
    for leg in legs:  # noqa: SIM110
        if leg.is_running() and leg.target.rank < than.target.rank:
            return True
    return False


@cython.cfunc
def is_untrusted_alive(legs: list, is_renewal: cython.bint) -> cython.bint:
    """Is there one that lets nobody in for our sake, and lives? What it says counts, or that it says nothing yet; but with
    `is_renewal` not that it fails."""
    leg: Leg
    for leg in legs:
        if leg.target.trusted or (is_renewal and leg.ending is _UNREACHABLE):
            continue
        if leg.is_refused() or not leg.is_hopeless():
            return True
    return False


@cython.cfunc
def is_password_refused(legs: list, by_better_than: Leg) -> cython.bint:
    """Has a better server than that leg's not accepted the credentials that the phone has shown it?"""
    leg: Leg
    for leg in legs:  # noqa: SIM110
        if leg.showed_credentials and leg.is_refused() and leg.target.rank < by_better_than.target.rank:
            return True
    return False


@cython.cfunc
def best_accepted(legs: list) -> Leg:
    """By rank; None when no server has accepted."""
    leg: Leg
    best: Leg = None
    for leg in legs:
        if leg.ending is _ACCEPTED and (best is None or leg.target.rank < best.target.rank):
            best = leg
    return best


@cython.cfunc
def shortest_time(legs: list, place: cython.Py_ssize_t) -> cython.longlong:
    """The seconds that the servers which accepted have granted for the contact at that place, but for those whose time is
    too short to be told; 0 without any."""
    leg: Leg
    shortest: cython.longlong = 0
    seconds: cython.longlong
    for leg in legs:
        if leg.ending is _ACCEPTED and not leg.brief:
            seconds = leg.granted_for(place)
            if seconds > 0 and (shortest == 0 or seconds < shortest):
                shortest = seconds
    return shortest


@cython.cfunc
def sort_by_rank(legs: list):
    """In place, and those of equal rank stay in their order; it nearly always has nothing to do."""
    leg: Leg
    before: Leg
    place: cython.Py_ssize_t
    for place in range(1, len(legs)):
        leg = legs[place]
        before = legs[place - 1]
        if leg.target.rank < before.target.rank:
            legs.sort(key=_rank)
            return


def _rank(leg: Leg) -> int:
    return leg.target.rank
