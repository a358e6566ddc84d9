"""A REGISTER that nobody but the appliance wants: `Errand`.

It registers one contact of a phone at one server, or removes it there, while the phone itself is silent: after a failover
or a failback, to renew what a server granted for a short time only, before a call. `upkeep` decides when.

It is a leg without a phone behind it: our own Call-ID and CSeq for this contact at this server (F3, pitfall D10), and no
credentials but those of the password file, under the same rule as in an exchange: the phone has proved itself by digest,
or a server of higher rank has let it in.

Compiled when installed, as `leg` is; the types of the fields are in errand.pxd.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import cython

from sbc.registration.bindings import REGISTERED
from sbc.registration.leg import Ending
from sbc.registration.own_digest import wrong_line
from sbc.sip.uri import format_host_port

if cython.compiled:
    from cython.cimports.sbc.flow import Flow
    from cython.cimports.sbc.location.candidate import Candidate
    from cython.cimports.sbc.redundancy.plan import AttemptPlan
    from cython.cimports.sbc.registration.bindings import Binding, Upstream
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.registration.exchange import ExchangeUser
    from cython.cimports.sbc.registration.leg import Leg, LegUser, new_leg
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.registration.written import Template, new_template
    from cython.cimports.sbc.sip.message import Request, Response
else:
    from sbc.flow import Flow
    from sbc.location.candidate import Candidate
    from sbc.redundancy.plan import AttemptPlan
    from sbc.registration.bindings import Binding, Upstream
    from sbc.registration.contacts import Contact
    from sbc.registration.exchange import ExchangeUser
    from sbc.registration.leg import Leg, LegUser, new_leg
    from sbc.registration.targets import Target, Targets
    from sbc.registration.written import Template, new_template
    from sbc.sip.message import Request, Response

COMPILED = bool(cython.compiled)

_USER_CHARACTERS = "-_.!~*'()&=+$,;?/"
"""What may stand in the user part of a URI as it is, besides letters and digits (RFC 3261 25.1: unreserved,
user-unreserved)."""


@cython.cclass
class Errand(LegUser):
    """Made for one binding and one server; `start` sends it.

    `done(errand)` is called once, unless it is stopped. Then `ending` says how it ended, `reason` why it was not accepted,
    `status` is that of the server's answer, 0 without one, `seconds` is what was granted, and `candidate` where it was; with
    `used_credentials` the server had asked for the password. `sent`: REGISTERs so far.
    """

    binding: Binding
    target: Target
    is_removal: cython.bint
    ending: object
    reason: str
    status: cython.int
    seconds: cython.longlong
    candidate: Candidate
    own_password_refused: cython.bint
    used_credentials: cython.bint
    sent: cython.int
    _registrar: ExchangeUser
    _leg: Leg
    _done: object
    _user: str
    _template: Template

    def __init__(
        self,
        registrar: ExchangeUser,
        targets: Targets,
        target: Target,
        binding: Binding,
        contact: Contact,
        plan: AttemptPlan,
        done: Callable[[Errand], object],
    ) -> None:
        """`contact` is the binding's, with the seconds to ask for in `expires`; 0 removes it."""
        self.unarmed()
        self._registrar = registrar
        self.layer = registrar.layer
        self.group = targets.group
        self.targets = targets
        self.target = target
        self.binding = binding
        self.contacts = [contact]
        self.is_removal = contact.expires == 0
        self.ending = None
        self.reason = ""
        self.status = 0
        self.seconds = 0
        self.candidate = None
        self.own_password_refused = False
        self.used_credentials = False
        self.sent = 0
        self._done = done
        self._user = _user_of(binding.aor)
        self._template = None
        self.request = _request_for(binding.aor, self._user)
        self._leg = new_leg(self, target, plan)

    def start(self) -> None:
        """Send it. May call `done` before it returns."""
        self._leg.start()

    def stop(self) -> None:
        """The phone's own REGISTER has come, or the phone has gone: send nothing more, hear nothing more."""
        leg: Leg = self._leg
        if leg is not None and self.ending is None:
            self.ending = Ending.STOPPED
            self._leg = None
            leg.stop()

    # LegUser

    @cython.cfunc
    def flow_to(self, candidate: Candidate) -> Flow:
        return self._registrar.server_flow(candidate)

    @cython.cfunc
    def upstream(self, target: Target) -> Upstream:
        known: Upstream = self.binding.at(target.name)
        if known is None:
            known = self._registrar.new_upstream(target.name)
            self.binding.upstreams += (known,)
        return known

    @cython.cfunc
    def register_at(self, leg: Leg, branch: str, credentials: list | None) -> bytes:
        registrar: ExchangeUser = self._registrar
        contact: Contact = self.contacts[0]
        if self._template is None:
            self._template = new_template(self.request, self.contacts, self._user, contact.token)
        self.used_credentials = self.used_credentials or credentials is not None
        cseq: cython.longlong = registrar.next_cseq(leg.upstream)
        self.sent += 1
        return self._template.register_at(leg, branch, registrar.boot, cseq, credentials)

    @cython.cfunc
    def phone_credentials_for(self, candidate: Candidate) -> list:
        return None

    @cython.cfunc
    def own_credentials(self, target: Target) -> object:
        return self._registrar.credentials if may_vouch_for(self.binding, self.targets, target) else None

    @cython.cfunc
    def own_username(self) -> str:
        return account_of(self.binding)

    @cython.cfunc
    def learn_nonces(self, response: Response, candidate: Candidate):
        self._registrar.nonces.learn(response, candidate, self.layer.queue.now())

    @cython.cfunc
    def leg_ended(self, leg: Leg):
        self.ending = leg.ending
        self.reason = leg.reason
        self.candidate = leg.candidate
        self.own_password_refused = leg.own_password_refused
        if leg.own_password_refused and leg.ending is Ending.CHALLENGED:
            self.reason = wrong_line(leg.response, self.own_username())
        if leg.response is not None:
            self.status = leg.response._status
        if leg.ending is Ending.ACCEPTED:
            self.seconds = leg.granted_for(0)
        self._leg = None
        self._done(self)

    @cython.cfunc
    def judge_is_slow(self):
        pass


def may_vouch_for(binding: Binding, targets: Targets, target: Target) -> bool:
    """May the appliance answer a challenge of that server for this phone from the password file?

    What the answer rests on was shown from where the phone is now: with a move that shows nothing it is forgotten.
    """
    if binding.username:
        return True
    upstream: Upstream
    for upstream in binding.upstreams:
        other: Target = targets.named(upstream.server)
        if other is not None and upstream.state == REGISTERED and other.rank < target.rank:
            return True
    return False


def account_of(binding: Binding) -> str:
    """The name under which we answer challenges for that phone."""
    return binding.username or binding.aor.removeprefix("sip:").rpartition("@")[0]


def _user_of(aor: str) -> str:
    """The user part of an address-of-record as it stands in a URI, "" without one."""
    user, at, _ = aor.removeprefix("sip:").rpartition("@")
    return quote(user, safe=_USER_CHARACTERS, encoding="utf-8", errors="surrogateescape") if at else ""


def _request_for(aor: str, user: str) -> Request:
    """The REGISTER that the phone might have sent."""
    host = aor.removeprefix("sip:").rpartition("@")[2]
    host = format_host_port(host.strip("[]"), None)
    uri = f"sip:{user}@{host}" if user else f"sip:{host}"
    return Request.create("REGISTER", f"sip:{host}", [("From", f"<{uri}>;tag="), ("To", f"<{uri}>")])
