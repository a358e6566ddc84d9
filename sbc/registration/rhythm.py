"""How a phone's rhythm and those of its servers go together (D12): `settle_times`.

A phone may refresh every minute and a server want to hear of it once an hour. Each registration is due after 90 % of its time,
by lot 10 % sooner or later, so that phones that were registered together are not renewed together; but so early that the phone
comes by often enough before the end, once for each server that wants its own answer. Until the first is due, no server needs to
hear of a refresh that changes nothing. Where the phone is granted as much as the servers grant, there is nothing to spare, and
every refresh concerns them.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import random

import cython

from sbc.registration.bindings import FAILED, REGISTERED
from sbc.registration.rota import FIRST_ONLY
from sbc.registration.steps import SLACK

if cython.compiled:
    from cython.cimports.sbc.registration.bindings import Binding, Upstream, gives_up_realm
    from cython.cimports.sbc.registration.rota import Rota
    from cython.cimports.sbc.registration.targets import Target, Targets
else:
    from sbc.registration.bindings import Binding, Upstream, gives_up_realm
    from sbc.registration.rota import Rota
    from sbc.registration.targets import Target, Targets

COMPILED = bool(cython.compiled)

_FAILED = cython.declare(str, FAILED)
_REGISTERED = cython.declare(str, REGISTERED)
_SLACK = cython.declare(cython.double, SLACK)
_RNG = random.Random()


@cython.cfunc
def settle_times(binding: Binding, targets: Targets, resync: object, now: cython.double):
    """The phone has just been told its time: how much longer the servers have it, when each is due, and until when none is.

    `resync` knows which servers have come back and take phones at a pace (`is_awaited`); None when there is none.
    """
    upstream: Upstream
    last: cython.double = 0.0
    quiet_until: cython.double = 0.0
    retry_at: cython.double = 0.0
    not_before: cython.double
    number: cython.int = 0
    binding.spare = 0.0
    binding.quiet_until = 0.0
    if binding.rota is None and targets.phone_expires == 0:
        return
    in_use: Target = _only_one(binding, targets)
    for upstream in binding.upstreams:
        if upstream.wants_phone and upstream.state == _REGISTERED:
            number += 1
    for upstream in binding.upstreams:
        if upstream.state == _REGISTERED:
            last = max(last, upstream.expires_at)
        if gives_up_realm(upstream):
            continue
        not_before = _not_before(binding, upstream)
        if not_before > now:
            if retry_at == 0.0 or not_before < retry_at:
                retry_at = not_before
            continue
        if upstream.state != _REGISTERED or (in_use is not None and upstream.wants_phone and upstream.server != in_use.name):
            continue
        if upstream.due_at < upstream.registered_at:
            upstream.due_at = due_at(upstream, binding.granted * max(1, number), now)
        if not targets.group.may_accept(upstream.server):
            continue  # it is down, and need not be told now
        if quiet_until == 0.0 or upstream.due_at < quiet_until:
            quiet_until = upstream.due_at
    binding.spare = max(0.0, last - binding.expires_at)
    if 0.0 < retry_at < quiet_until:
        quiet_until = retry_at
    if quiet_until > now and _is_where_it_can_be(binding, targets, in_use, resync, now):
        binding.quiet_until = quiet_until


@cython.cfunc
def _not_before(binding: Binding, upstream: Upstream) -> cython.double:
    """When that server may be tried again, which refuses the account (V16) or has no turn of the phone (`turns`)."""
    rota: Rota = binding.rota
    return upstream.retry_at if rota is None else max(upstream.retry_at, rota.left_out_until(upstream.server))


@cython.cfunc
def due_at(upstream: Upstream, lead: cython.double, now: cython.double) -> cython.double:
    """`lead`: seconds in which the phone has come by as often as needed."""
    left: cython.double = upstream.expires_at - now
    drawn: cython.double = now + left * 0.9 * _RNG.uniform(0.9, 1.1)
    return max(now, min(drawn, upstream.expires_at - lead - _SLACK))


@cython.cfunc
def _only_one(binding: Binding, targets: Targets) -> Target | None:
    """first-only: of the servers that want the phone's answer, the one that it is registered at; else None."""
    target: Target
    upstream: Upstream
    found: Target = None
    rota: Rota = binding.rota
    if rota is None or rota.method != FIRST_ONLY:
        return None
    for target in targets.servers:
        upstream = binding.at(target.name)
        if upstream is None or not upstream.wants_phone or upstream.state != _REGISTERED:
            continue
        if (found is None or target.rank < found.rank) and targets.group.may_accept(target.name):
            found = target
    return found


@cython.cfunc
def _is_where_it_can_be(
    binding: Binding, targets: Targets, in_use: Target | None, resync: object, now: cython.double
) -> cython.bint:
    """Is it well, but for servers that are down, that have no place for it now (D18), that it is not to be tried at yet (V16, D8),
    or that it does not use? As long as it is nowhere else that lives, they are asked all the same."""
    target: Target
    upstream: Upstream
    is_anywhere: cython.bint = False
    if not targets.concurrent:
        return is_well(binding, targets)
    for target in targets.servers:
        upstream = binding.at(target.name)
        if upstream is not None and gives_up_realm(upstream):
            continue
        if upstream is not None and _not_before(binding, upstream) > now:
            continue
        if in_use is not None and target.rank > in_use.rank and upstream is not None and upstream.wants_phone:
            continue
        if upstream is not None and upstream.state == _FAILED:
            return False
        if upstream is not None and upstream.state == _REGISTERED:
            if not target.registers:
                return False
            if targets.group.may_accept(target.name):
                is_anywhere = True
                if upstream.expires_at + _SLACK < binding.expires_at:
                    return False
        elif (
            target.registers
            and targets.group.may_accept(target.name)
            and not (resync is not None and resync.is_awaited(binding, target.name))
        ):
            return False
    return is_anywhere


@cython.cfunc
def is_well(binding: Binding, targets: Targets) -> cython.bint:
    """Is it registered where it should be, there only, and for as long as the phone was told?"""
    target: Target
    upstream: Upstream
    is_goal: cython.bint
    for target in targets.servers:
        upstream = binding.at(target.name)
        is_goal = target.registers if targets.concurrent else target.name == targets.goal
        if upstream is None or upstream.state != _REGISTERED:
            if is_goal or (upstream is not None and upstream.state == _FAILED):
                return False
        elif not is_goal or upstream.expires_at + _SLACK < binding.expires_at:
            return False
    return True
