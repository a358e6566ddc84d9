"""Refreshes that change nothing, answered from what is known: `Refreshes`.

Phones behind an appliance may refresh every minute, while the servers see their own, longer rhythm. As long as no server has
to hear of a contact (`Binding.quiet_until`), a REGISTER that says nothing new about it is answered here. It may be, when

* it comes from the address, port and transport of the one that a server accepted, to the same socket of ours;
* it has the same Call-ID, a CSeq that is higher (or is one of these repeated, branch and all), one Contact with the same
  octets, and asks for the same time;
* it requires nothing (Require), and no exchange about this contact is under way;
* and with `refresh_check = "credentials"` it shows a digest that is good by the password file, with a nonce that a server
  issued and a count that has not been seen before. Credentials are not looked at with "source".

The answer is what the phone had the last time: its Contact byte for byte, the other contacts of the address-of-record, and
what the best server had said besides. It is granted `phone_expires` or what it had before, and that only while all servers
hold it longer that hold it at all. So where phones get all the time that a server gives (`phone_expires = 0`), the servers
hear of every refresh; and who forges the address of a phone gains nothing that was not there: the contact stays where it
is, for as long as the servers keep it there. His CSeq does not even count against that of the phone, unless it came with a digest.

The first such refresh is looked at here as any REGISTER is (`is_unchanged`), and leaves a stencil. If the next ones are
the same octets, but for the branch, CSeq, credentials and the tag of From, they are answered before anybody has read them
(`answer_to`; RFC 3261 8.2.7: a repetition gets the same answer again).

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1: with short refreshes this is
what the appliance does most.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

import cython

from sbc.nonces import shown_credentials
from sbc.registration.bindings import REGISTERED
from sbc.registration.own_digest import is_proof
from sbc.registration.written import wants_gruu
from sbc.sip.digest import HtdigestFile

if cython.compiled:
    from cython.cimports.sbc.clock import TimerQueue
    from cython.cimports.sbc.flow import AtHand, Flow
    from cython.cimports.sbc.registration.archive import Archive
    from cython.cimports.sbc.registration.bindings import Binding, Bindings, Upstream, is_from
    from cython.cimports.sbc.registration.contacts import Contact
    from cython.cimports.sbc.registration.expiry import ExpiryQueue
    from cython.cimports.sbc.registration.quarantine import Quarantine
    from cython.cimports.sbc.registration.targets import Target, Targets
    from cython.cimports.sbc.sip.message import Request, Response, ok_to, parse
    from cython.cimports.sbc.sip.scanner import CALL_ID, CONTACT, CONTENT_LENGTH, CSEQ, EXPIRES, FROM, REQUIRE, TO, VIA
    from cython.cimports.sbc.sip.stencil import Stencil, call_id_in, stencil_of
    from cython.cimports.sbc.sip.unguessable import hex_word
    from cython.cimports.sbc.sip.writer import Writer
    from cython.cimports.sbc.transaction.server import ServerTransaction
else:
    from sbc.clock import TimerQueue
    from sbc.flow import AtHand, Flow
    from sbc.registration.archive import Archive
    from sbc.registration.bindings import Binding, Bindings, Upstream, is_from
    from sbc.registration.contacts import Contact
    from sbc.registration.expiry import ExpiryQueue
    from sbc.registration.quarantine import Quarantine
    from sbc.registration.targets import Target, Targets
    from sbc.sip.message import Request, Response, ok_to, parse
    from sbc.sip.scanner import CALL_ID, CONTACT, CONTENT_LENGTH, CSEQ, EXPIRES, FROM, REQUIRE, TO, VIA
    from sbc.sip.stencil import Stencil, call_id_in, stencil_of
    from sbc.sip.unguessable import hex_word
    from sbc.sip.writer import Writer
    from sbc.transaction.server import ServerTransaction

COMPILED = bool(cython.compiled)

OFF = "off"
SOURCE = "source"
CREDENTIALS = "credentials"

_REGISTERED = cython.declare(str, REGISTERED)
_OFF = cython.declare(str, OFF)
_SOURCE = cython.declare(str, SOURCE)

# Of an answer: repeated from the request, or written anew.
_OURS = cython.declare(cython.int, VIA | FROM | TO | CALL_ID | CSEQ | CONTACT | EXPIRES | CONTENT_LENGTH)
_OF_ONE_ANSWER = ("Date", "Authentication-Info", "Proxy-Authentication-Info")
_MOST_MISFITS = cython.declare(cython.int, 3)  # then it is a phone that says something new each time
_MOST_EXTRAS = 1000  # different ones; servers say the same to nearly all
_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one answer


@cython.final
@cython.cclass
class Extras:
    """What a server's 200 said besides what is ours to say: header lines as they stand, and whether it had a Date and an
    Expires, which are written anew. Shared by the contacts that got the same."""

    lines: bytes
    has_date: cython.bint
    has_expires: cython.bint


@cython.final
@cython.cclass
class Refresh:
    """The last REGISTER of a phone that was answered here: what the next one is compared with."""

    binding: Binding
    targets: Targets
    stencil: Stencil  # None: the next one has to be read, whatever it is
    key: bytes  # its Call-ID, as long as there is a stencil
    branch: cython.ulonglong  # hash of the last one's that was answered unread; 0: none was
    misfits: cython.int  # stencils that the next one did not fit, one after the other
    settled: cython.bint  # the answer said nothing that others could change
    cseq: cython.longlong
    wanted: cython.longlong  # the time asked for; below 0: not said
    usual: cython.longlong  # the time that was granted when a server had heard of it
    wants_gruu: cython.bint
    told: cython.longlong  # of the last answer, in seconds


@cython.cclass
class Refreshes(AtHand):
    """Part of the registrar, into whose dictionaries it looks."""

    _nonces: object
    _queue: TimerQueue
    _wall_clock: object
    _bindings: Bindings
    _archive: Archive
    _expiry: ExpiryQueue
    _under_way: dict
    _quarantine: Quarantine
    _by_call_id: dict
    _extras: dict
    _counts: dict
    _counting: str
    _count: cython.longlong  # of that group, not in `_counts` so far
    _date: bytes
    _date_until: cython.double
    _limits: set
    _upkeep: object

    def __init__(
        self,
        queue: TimerQueue,
        wall_clock: Callable[[], float],
        bindings: Bindings,
        archive: Archive,
        expiry: ExpiryQueue,
        under_way: dict[str, list],
        quarantine: Quarantine,
        nonces: object,
    ) -> None:
        """`under_way`: the tokens of the contacts that an exchange is about."""
        self._nonces = nonces
        self._queue = queue
        self._wall_clock = wall_clock
        self._bindings = bindings
        self._archive = archive
        self._expiry = expiry
        self._under_way = under_way
        self._quarantine = quarantine
        self._by_call_id: dict[bytes, Refresh] = {}
        self._extras: dict[tuple[bytes, bool, bool], Extras] = {}
        self._counts: dict[str, int] = {}
        self._counting = ""
        self._count = 0
        self._date = b""
        self._date_until = 0.0
        self._limits: set[object] = set()
        self._upkeep: object = None

    def limit_by(self, upkeep: object, limits: set[object]) -> None:
        """As long as `limits` is not empty, `upkeep` says which phones are not to be answered here, and how long others may be
        told (D18 (5)): servers are down, or are coming back."""
        self._upkeep = upkeep
        self._limits = limits

    def __len__(self) -> int:
        """Contacts whose next refresh may be answered before it is read."""
        return len(self._by_call_id)

    def answered(self) -> dict[str, int]:
        """Refreshes that no server has heard of: {group: number}."""
        self._count_for("")
        return dict(self._counts)

    # Before it is read

    @cython.ccall
    def answer_to(self, data: bytes, flow: Flow) -> bytes:
        """To a REGISTER that is a refresh as the one before. None: it has to be looked at."""
        if not self._by_call_id:
            return None
        key: bytes = call_id_in(data)
        if key is None:
            return None
        refresh: Refresh = self._by_call_id.get(key)
        if refresh is None:
            return None
        binding: Binding = refresh.binding
        stencil: Stencil = refresh.stencil
        if not _is_unmoved(binding, flow):
            return None
        cseq: cython.longlong = stencil.number_in(data)
        if cseq < 0:
            return None
        branch: cython.ulonglong = stencil.branch_in(data)
        if cseq == refresh.cseq and branch == refresh.branch:
            # Repeated, because the answer was lost; whatever has happened since, this was the answer.
            return stencil.answer_to(data)
        now: cython.double = self._queue.now()
        seconds: cython.longlong = self._seconds_unread(refresh, cseq, now)
        if seconds <= 0:
            # It will have a transaction, which gives its repetitions their answer (17.2.2): nothing may come before it.
            self._drop_stencil(refresh)
            return None
        refresh.cseq = cseq
        refresh.branch = branch
        refresh.misfits = 0
        self._renewed(binding, seconds, now)
        if seconds != refresh.told or not refresh.settled or not self._is_settled(binding):
            stencil.end_answer_with(self._rest(binding, seconds, now))
        return stencil.answer_to(data)

    @cython.cfunc
    def _seconds_unread(self, refresh: Refresh, cseq: cython.longlong, now: cython.double) -> cython.longlong:
        """To grant to one that says the same with this CSeq; 0: it has to be looked at."""
        binding: Binding = refresh.binding
        if cseq <= refresh.cseq or cseq <= binding.cseq or now >= binding.quiet_until:
            return 0
        if self._under_way and binding.token in self._under_way:
            return 0
        if self._quarantine.is_any() and self._quarantine.left(binding.host, binding.token, now) > 0.0:
            return 0
        seconds: cython.longlong = _time_left(binding, refresh.targets, refresh.wanted, refresh.usual, now)
        return self._limited(binding, seconds, now) if self._limits and seconds > 0 else seconds

    @cython.cfunc
    def _limited(self, binding: Binding, seconds: cython.longlong, now: cython.double) -> cython.longlong:
        """Seconds to grant while not all servers are well; 0: one of them has a place for this REGISTER."""
        if self._upkeep.wants(binding, now):
            return 0
        longest: cython.double = self._upkeep.longest_grant(binding, now)
        return seconds if longest >= seconds else cython.cast(cython.longlong, longest)

    @cython.cfunc
    def _is_settled(self, binding: Binding) -> cython.bint:
        """Does the answer say the same each time?"""
        extras: Extras = binding.extras
        return (extras is None or not extras.has_date) and self._bindings.is_alone(binding)

    # In the course of any REGISTER

    @cython.cfunc
    def is_unchanged(
        self,
        transaction: ServerTransaction,
        request: Request,
        targets: Targets,
        contacts: list,
        agent: str | None,
        credentials: object,  # HtdigestFile | None
    ) -> cython.bint:
        """Answer it if it says nothing new and no server has to hear of it. `agent` is its User-Agent in a group of several
        kinds of phones, `credentials` the password file. Its CSeq is higher than that of the last one that a server has
        accepted."""
        flow: Flow = transaction.flow
        contact: Contact
        before: Contact
        binding: Binding
        refresh: Refresh
        if len(contacts) != 1 or targets.refresh_check == _OFF:
            return False
        contact = contacts[0]
        binding = self._bindings.find(contact.token)
        if binding is None:
            return False
        now: cython.double = self._queue.now()
        if now >= binding.quiet_until or contact.expires == 0 or binding.token in self._under_way:
            return False
        cseq: cython.longlong = request.cseq_number()
        refresh = binding.refresh
        if (
            contact.text != binding.contact
            or not _is_unmoved(binding, flow)
            or binding.group != targets.group_name
            or (agent is not None and agent != binding.agent)
            or request.call_id_text() != binding.call_id
            or (refresh is not None and cseq <= refresh.cseq)
            or request.may_have(REQUIRE)
        ):
            return False
        before = binding.read
        # What it asked for before a restart is not known; for as much as it got, at least.
        if (contact.expires != before.expires) if before is not None else (0 <= contact.expires < binding.granted):
            return False
        usual: cython.longlong = cython.cast(cython.longlong, binding.granted) if refresh is None else refresh.usual
        seconds: cython.longlong = _time_left(binding, targets, contact.expires, usual, now)
        if self._limits and seconds > 0:
            seconds = self._limited(binding, seconds, now)
        if seconds <= 0:
            return False
        if targets.refresh_check != _SOURCE:
            if not self._shows_password(request, binding, credentials, now):
                return False
            binding.cseq = cseq
        misfits: cython.int = 0 if refresh is None else refresh.misfits + 1
        self.forget(binding)
        refresh = Refresh.__new__(Refresh)
        refresh.binding = binding
        refresh.targets = targets
        refresh.stencil = None
        refresh.key = None
        refresh.branch = 0
        refresh.misfits = misfits
        refresh.cseq = cseq
        refresh.wanted = contact.expires
        refresh.usual = usual
        refresh.wants_gruu = binding.gruu != "" and wants_gruu(request, contacts)
        binding.refresh = refresh
        self._renewed(binding, seconds, now)
        repeated: bytes = ok_to(request, hex_word(16), b"")
        rest: bytes = self._rest(binding, seconds, now)
        transaction.respond(parse(repeated + rest))
        if targets.refresh_check == _SOURCE and misfits < _MOST_MISFITS:
            self._keep_stencil(refresh, request, repeated, rest)
        return True

    def _shows_password(
        self, request: Request, binding: Binding, credentials: HtdigestFile | None, now: float
    ) -> bool:
        """Does it show a digest that is good by the password file, for this contact's account, and was not seen before?"""
        accounts = (binding.username, request.to.uri.user_unescaped)
        for _, _, shown in shown_credentials(request):
            if (
                shown.username in accounts
                and self._nonces.issuer(shown.nonce, now) is not None
                and is_proof(shown, credentials, request)
                and self._nonces.is_first_use(shown, now)
            ):
                return True
        return False

    @cython.cfunc
    def _keep_stencil(self, refresh: Refresh, request: Request, repeated: bytes, rest: bytes):
        """The source is all that will be asked of the next one; so it need not be read if it says the same."""
        key: bytes = call_id_in(request.data)
        stencil: Stencil = None if key is None else stencil_of(request.data, repeated)
        if stencil is None:
            return
        # Two telephones may have thought of the same Call-ID; then the last one is there.
        former: Refresh = self._by_call_id.get(key)
        if former is not None:
            self._drop_stencil(former)
        stencil.end_answer_with(rest)
        refresh.stencil = stencil
        refresh.key = key
        self._by_call_id[key] = refresh

    @cython.cfunc
    def _drop_stencil(self, refresh: Refresh):
        """The next one has to be read."""
        if refresh.stencil is not None:
            refresh.stencil = None
            del self._by_call_id[refresh.key]
            refresh.key = None

    @cython.cfunc
    def forget(self, binding: Binding):
        """The contact is gone, or a server has heard of it since."""
        refresh: Refresh = binding.refresh
        if refresh is not None:
            binding.refresh = None
            self._drop_stencil(refresh)

    def forget_all(self) -> None:
        """The configuration has changed: the next refresh of each is looked at."""
        refresh: Refresh
        for refresh in list(self._by_call_id.values()):
            self.forget(refresh.binding)

    # What the phone is told

    @cython.cfunc
    def _renewed(self, binding: Binding, seconds: cython.longlong, now: cython.double):
        until: cython.double = now + seconds
        # The disk knows how long the servers have it, and need not hear of what is within that time.
        known_until: cython.double = binding.expires_at + binding.spare
        if binding.group is not self._counting:
            self._count_for(binding.group)
        self._count += 1
        binding.granted = seconds
        binding.expires_at = until
        if until > known_until:
            binding.spare = 0.0
            self._archive.keep_later(binding)
        else:
            binding.spare = known_until - until
        if binding.grace > 0.0:  # as after a restart
            binding.grace = 0.0
            self._expiry.watch(binding)

    def _count_for(self, group: str) -> None:
        """From now on; there are few groups, and nearly always it is the same."""
        if self._count:
            self._counts[self._counting] = self._counts.get(self._counting, 0) + self._count
        self._counting = group
        self._count = 0

    @cython.cfunc
    def _rest(self, binding: Binding, seconds: cython.longlong, now: cython.double) -> bytes:
        """The answer behind what it repeats of the request."""
        writer: Writer = _WRITER
        extras: Extras = binding.extras
        other: Binding
        refresh: Refresh = binding.refresh
        refresh.told = seconds
        refresh.settled = self._is_settled(binding)
        writer.begin()
        _write_contact(writer, binding, seconds, binding.gruu if refresh.wants_gruu else "")
        if not self._bindings.is_alone(binding):  # 10.3 item 8
            for other in self._bindings.of_aor(binding.aor):
                if other is not binding and other.expires_at > now:
                    _write_contact(writer, other, max(0, round(other.expires_at - now)), "")
        if extras is not None:
            writer.octets(extras.lines)
            if extras.has_date:
                writer.octets(self._date_line(now))
            if extras.has_expires:
                writer.octets(b"Expires: ")
                writer.number(seconds)
                writer.octets(b"\r\n")
        writer.octets(b"Content-Length: 0\r\n\r\n")
        return writer.written()

    def _date_line(self, now: float) -> bytes:
        """Of this second."""
        if now >= self._date_until:
            wall_now = self._wall_clock()
            self._date = f"Date: {formatdate(wall_now, usegmt=True)}\r\n".encode("ascii")
            self._date_until = now + 1.0 - wall_now % 1.0
        return self._date

    @cython.cfunc
    def learn(self, binding: Binding, response: Response):
        """What the phone is told when a server has accepted this contact, so that it can be told again."""
        writer: Writer = _WRITER
        has_expires: cython.bint = response.may_have(EXPIRES)
        writer.begin()
        writer.other_lines(response, _OURS)
        if writer.length() == 0 and not has_expires:
            binding.extras = None
            return
        lines: bytes = writer.written()
        extras: Extras = self._extras.get((lines, False, has_expires))
        binding.extras = self._new_extras(response, has_expires) if extras is None else extras

    def _new_extras(self, response: Response, has_expires: bool) -> Extras:
        """Without what is true of one answer only."""
        has_date = response.has("Date")
        kept = response.copy()
        for name in _OF_ONE_ANSWER:
            kept.remove(name)
        writer: Writer = _WRITER
        writer.begin()
        writer.other_lines(kept, _OURS)
        lines = writer.written()
        key = (lines, has_date, has_expires)
        extras: Extras = self._extras.get(key)
        if extras is None:
            extras = Extras.__new__(Extras)
            extras.lines, extras.has_date, extras.has_expires = lines, has_date, has_expires
            if len(self._extras) >= _MOST_EXTRAS:
                self._extras.clear()
            self._extras[key] = extras
        return extras


@cython.cfunc
def _write_contact(writer: Writer, binding: Binding, seconds: cython.longlong, gruu: str):
    contact: Contact = binding.read
    if contact is None:
        contact = Contact(binding.token, binding.contact, -1, "")
    contact.write_line(writer, seconds, gruu)


@cython.cfunc
def _time_left(
    binding: Binding, targets: Targets, wanted: cython.longlong, usual: cython.longlong, now: cython.double
) -> cython.longlong:
    """Seconds to grant without a server: as usual. 0 when a server should hear of it: one that holds it does not hold it as long
    as that, or those that hold it are dead, and another one lives. The dead are not counted as long as one of them lives."""
    upstream: Upstream
    until: cython.double = 0.0
    living_until: cython.double = 0.0
    is_held: cython.bint = False
    for upstream in binding.upstreams:
        if upstream.state == _REGISTERED:
            if until == 0.0 or upstream.expires_at < until:
                until = upstream.expires_at
            if targets.group.may_accept(upstream.server):
                if living_until == 0.0 or upstream.expires_at < living_until:
                    living_until = upstream.expires_at
                if not is_held:
                    is_held = targets.goal == "" or upstream.server == targets.goal
    if not is_held and _is_any_alive(targets):
        return 0
    if living_until > 0.0:
        until = living_until
    left: cython.longlong = cython.cast(cython.longlong, until - now)
    seconds: cython.longlong = targets.phone_expires
    if seconds == 0:
        seconds = usual
    if wanted >= 0:
        if wanted < targets._min_expires:
            wanted = targets._min_expires
        if wanted < seconds:
            seconds = wanted
    return seconds if left >= seconds else 0


@cython.cfunc
def _is_any_alive(targets: Targets) -> cython.bint:
    """Is there a registrar that is not known to be down?"""
    target: Target
    for target in targets.servers:  # noqa: SIM110 (compiled, this makes no generator)
        if target.registers and targets.group.may_accept(target.name):
            return True
    return False


@cython.cfunc
def _is_unmoved(binding: Binding, flow: Flow) -> cython.bint:
    """Is the phone where it was, and does it speak to the same socket of ours?"""
    local_port: cython.int = flow.local[1]
    return is_from(binding, flow) and local_port == binding.local_port and flow.local[0] == binding.local_host
