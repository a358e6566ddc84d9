"""The answers to a phone's REGISTER, but for the 200, which the registrar completes.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import cython

from sbc.nonces import ANSWERED_BY

if cython.compiled:
    from cython.cimports.sbc.registration.leg import Leg
    from cython.cimports.sbc.registration.written import take_over
    from cython.cimports.sbc.sip.message import Request, Response
    from cython.cimports.sbc.sip.scanner import CALL_ID, CSEQ, FROM, TO, VIA
else:
    from sbc.registration.leg import Leg
    from sbc.registration.written import take_over
    from sbc.sip.message import Request, Response
    from sbc.sip.scanner import CALL_ID, CSEQ, FROM, TO, VIA

COMPILED = bool(cython.compiled)

_REPEATED = cython.declare(cython.int, VIA | FROM | TO | CALL_ID | CSEQ)  # in a response (RFC 3261 8.2.6.2)


@cython.cfunc
def answer_to(request: Request, status: cython.int, reason: str | None) -> Response:
    """So far with what the phone wrote; without `reason` the usual one."""
    response: Response = Response.__new__(Response)
    response.answer(request, status, reason, None, _REPEATED)
    return response


@cython.cfunc
def passed_on(request: Request, answer: Response) -> Response:
    """A server's own words."""
    response: Response = answer_to(request, answer._status, answer.reason_text())
    take_over(answer, response, True)
    return response


@cython.cfunc
def challenges_of(request: Request, leg: Leg, others: list) -> Response:
    """401 or 407: the words of that leg's server, and the challenges of others in the same answer."""
    other: Leg
    response: Response = passed_on(request, leg.response)
    for other in others:
        for name in ANSWERED_BY:
            for value in other.response.get_all(name):
                response.append(name, value)
    return response


@cython.cfunc
def nobody_answered(request: Request, group_name: str, legs: list) -> Response:
    """480: 408 is forbidden (RFC 4320 4.2), and a 503 would make the phone think that we are at fault (D7)."""
    leg: Leg
    tried = "; ".join([f"{leg.target.name}: {leg.reason or 'no answer'}" for leg in legs]) or "none configured"
    text = f"no registrar of {group_name} answered ({tried})".replace("\\", "").replace('"', "'")
    response: Response = answer_to(request, 480, "No Registrar Answers")
    response.append("Warning", f'399 sbc "{text}"')
    return response
