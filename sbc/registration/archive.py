"""What of the bindings is on disk, and when it gets there: `Archive`.

A phone is told that it is registered only after what is new about it was noted, by one `write` that survives `kill -9`
as a committed transaction does. A renewal that has changed nothing but the time is noted a second later, many in one
line. Once a good deal of notes has come together, the database gets the bindings that they are about, each once however
often it was renewed, a part at a time, because the telephones wait meanwhile; then the notes are forgotten.

A note is a line of JSON that `sbc.store.journal` reads. It is put together here, because making rows of a binding first
would cost more than all the rest of its REGISTER.

Compiled when installed (Cython's pure Python mode), and ordinary Python when SBC_PURE_PYTHON=1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice

import cython

from sbc.registration.bindings import REGISTERED
from sbc.store.interface import RegistrationStore, RemovalRow

if cython.compiled:
    from cython.cimports.sbc.clock import Timer, TimerQueue
    from cython.cimports.sbc.registration.bindings import Binding, Upstream
    from cython.cimports.sbc.sip.writer import Writer
else:
    from sbc.clock import Timer, TimerQueue
    from sbc.registration.bindings import Binding, Upstream
    from sbc.sip.writer import Writer

COMPILED = bool(cython.compiled)

WRITE_BEHIND = 1.0
"""Seconds until renewals that have changed nothing but the time are on disk, and contacts that lapsed are off it."""

_NOTED_AT_ONCE = 2000  # renewals in one line, in about a millisecond
_SAVED_AT_ONCE = 50  # bindings in one transaction of the database, in one or two milliseconds
_PAUSE = 0.02  # seconds between two of them

_REGISTERED = cython.declare(str, REGISTERED)
_WRITER = cython.declare(Writer, Writer())  # nobody holds it for longer than one line


@cython.cclass
class Archive(Timer):
    """Between the registrar and its store. It is the timer of what waits to be written."""

    _queue: TimerQueue
    _wall_clock: object
    _store: object
    _everything: object
    _behind: dict  # token -> the binding whose new times are to be noted, None: it is to be forgotten
    _unsaved: dict  # the same for what the database does not have; all of it is noted
    _heard_of: list  # (token, server) of the removals of which it is to be noted that they need no more telling
    _removals: dict  # the same -> the row, None: it is to be forgotten; what the database does not have, all noted
    _fewer: set  # tokens of bindings whose rows the database is to get anew, for some of them are no more
    _notes_are_old: cython.bint  # all was saved, but by a database that could not write it: the notes had to stay
    _saving: cython.bint  # the database is to get all that is unsaved

    def __init__(
        self,
        queue: TimerQueue,
        wall_clock: Callable[[], float],
        store: RegistrationStore,
        everything: Callable[[], tuple[Iterable[Binding], Iterable[RemovalRow]]],
    ) -> None:
        """`everything` gives what should be on disk."""
        self.unarmed()
        self._queue = queue
        self._wall_clock = wall_clock
        self._store = store
        self._everything = everything
        self._behind: dict[str, Binding | None] = {}
        self._unsaved: dict[str, Binding | None] = {}
        self._heard_of: list[tuple[str, str]] = []
        self._removals: dict[tuple[str, str], RemovalRow | None] = {}
        self._fewer = set()
        self._notes_are_old = False
        self._saving = False

    @cython.cfunc
    def keep(self, binding: Binding):
        """Something about it has changed that a call or a restart would miss. Returns when it survives a SIGKILL."""
        binding.unsaved = False
        self._behind.pop(binding.token, None)
        self._unsaved[binding.token] = binding
        writer: Writer = _WRITER
        writer.begin()
        _write_note(writer, binding, self._wall_clock() - self._queue.now())
        self._note(writer)

    @cython.cfunc
    def keep_later(self, binding: Binding):
        """Nothing but its times has changed. A kill may lose those of the last second; so a contact that was restored is
        kept for one more period of its time, until then the phone has renewed it. Longer than the servers believe in it is
        no harm: calls come by the servers."""
        self._behind[binding.token] = binding
        self._come_back(WRITE_BEHIND)

    @cython.cfunc
    def keep_without(self, binding: Binding):
        """It is known at fewer servers than before. A kill may lose that."""
        self._fewer.add(binding.token)
        self.keep_later(binding)

    @cython.cfunc
    def forget(self, token: str, removals: list):
        """It is no contact any more, which these servers have yet to hear. Returns when that survives a SIGKILL."""
        self._behind.pop(token, None)
        self._unsaved[token] = None
        writer: Writer = _WRITER
        writer.begin()
        writer.octets(b"[[],[],[")
        writer.quoted(token)
        writer.octets(b"],[]")
        if removals:
            for row in removals:
                self._removals[row.token, row.server] = row
            writer.comma()
            writer.octets(json.dumps(removals).encode())
        writer.octets(b"]")
        self._note(writer)

    def heard(self, token: str, server: str) -> None:
        """That server needs to be told no more that the phone has removed this contact. A kill may lose those of the last
        second: then it is told once more, or it is seen that the contact is there again."""
        self._heard_of.append((token, server))
        self._come_back(WRITE_BEHIND)

    @cython.cfunc
    def forget_later(self, token: str):
        """It has lapsed; whoever finds it on disk sees that."""
        self._behind[token] = None
        self._come_back(WRITE_BEHIND)

    def check(self) -> None:
        """See whether what was saved is still there; if not, save it once more, a part at a time. And where the database
        could not be written for a while, see that notes go which are older than what it has now."""
        if not self._store.check():
            bindings, removals = self._everything()
            self._unsaved.update((binding.token, binding) for binding in bindings)
            self._removals.update(((row.token, row.server), row) for row in removals)
            self._saving = True
        elif self._notes_are_old and self._store.up_to_date:
            self._saving = True
        if self._saving:
            self._come_back(_PAUSE)

    def close(self) -> None:
        """Write all that still waits: the appliance stops, and nobody waits for it."""
        while self._behind or self._heard_of:
            self._note_what_waits()
        self._save_all()
        self.disarm()

    @cython.cfunc
    def _come_back(self, delay: cython.double):
        if self.waiting is None:
            self._queue.arm(self, self._queue.now(), delay)

    @cython.cfunc
    def fire(self):
        if self._behind or self._heard_of:
            self._note_what_waits()
        if self._saving or self._store.notes_are_many:
            self._save_some()
        self.check()
        if self._behind or self._saving:  # the rest in a moment
            self._queue.arm(self, self._queue.now(), _PAUSE)

    @cython.cfunc
    def _note(self, writer: Writer):
        """A line about something that is among the unsaved already."""
        if self._store.note(writer.written()):
            self._come_back(WRITE_BEHIND)
        else:
            self._save_all()

    @cython.cfunc
    def _note_what_waits(self):
        """The first of them, in one line."""
        wall_offset: cython.double = self._wall_clock() - self._queue.now()
        waiting: dict = self._behind
        self._behind = {}
        if len(waiting) > _NOTED_AT_ONCE:
            self._behind = dict(islice(waiting.items(), _NOTED_AT_ONCE, None))
            waiting = dict(islice(waiting.items(), _NOTED_AT_ONCE))
        self._unsaved.update(waiting)
        writer: Writer = _WRITER
        writer.begin()
        binding: Binding
        first: cython.bint = True
        writer.octets(b"[[],[],[")
        for token, binding in waiting.items():
            if binding is None:
                if not first:
                    writer.comma()
                first = False
                writer.quoted(token)
        first = True
        writer.octets(b"],[")
        for binding in waiting.values():
            if binding is not None:
                if not first:
                    writer.comma()
                first = False
                _write_renewal(writer, binding, wall_offset)
        writer.octets(b"]")
        if self._heard_of:
            writer.octets(b",[],")
            writer.octets(json.dumps(self._heard_of).encode())
            self._removals.update(dict.fromkeys(self._heard_of))
            self._heard_of.clear()
        writer.octets(b"]")
        if not self._store.note(writer.written()):
            self._saving = True

    @cython.cfunc
    def _save_some(self):
        """Bring a part of what is unsaved into the database; with the last part the notes have done their duty."""
        wall_offset = self._wall_clock() - self._queue.now()
        rows: list = []
        of_servers: list = []
        removed: list = []
        binding: Binding
        for token in list(islice(self._unsaved, _SAVED_AT_ONCE)):
            binding = self._unsaved.pop(token)
            if binding is None or token in self._fewer:
                removed.append(token)
                self._fewer.discard(token)
            if binding is not None:
                row, registrations = binding.rows(wall_offset)
                rows.append(row)
                of_servers += registrations
        removals: list = []
        heard: list = []
        for key in list(islice(self._removals, _SAVED_AT_ONCE)):
            removal = self._removals.pop(key)
            if removal is None:
                heard.append(key)
            else:
                removals.append(removal)
        if rows or removed or removals or heard:
            self._store.save_registrations(rows, of_servers, removed, removals, heard)
        self._saving = len(self._unsaved) > 0 or len(self._removals) > 0
        if not self._saving:
            self._notes_are_old = not self._store.notes_saved()

    @cython.cfunc
    def _save_all(self):
        self._saving = True
        while self._saving:
            self._save_some()


@cython.cfunc
def _write_note(writer: Writer, binding: Binding, wall_offset: cython.double):
    """The rows of a binding and of its registrations (`BindingRow`, `RegistrationRow`) as a line."""
    writer.octets(b"[[[")
    writer.quoted(binding.token)
    writer.field(binding.group)
    writer.field(binding.aor)
    writer.field(binding.contact)
    writer.field(binding.username)
    writer.field(binding.call_id)
    writer.comma()
    writer.number(binding.cseq)
    writer.field(binding.transport)
    writer.field(binding.host)
    writer.comma()
    writer.number(binding.port)
    writer.field(binding.local_host)
    writer.comma()
    writer.number(binding.local_port)
    writer.comma()
    _write_seconds(writer, binding.granted + binding.spare)
    writer.comma()
    _write_seconds(writer, binding.expires_at + binding.spare + wall_offset)
    if binding.agent is not None or binding.method or binding.method_reason:  # else as if absent
        if binding.agent is None:
            writer.octets(b",null")
        else:
            writer.field(binding.agent)
        writer.field(binding.method)
        writer.field(binding.method_reason)
    writer.octets(b"]],[")
    first: cython.bint = True
    upstream: Upstream
    for upstream in binding.upstreams:
        writer.octets(b"[" if first else b",[")
        first = False
        writer.quoted(binding.token)
        writer.field(upstream.server)
        writer.field(upstream.state)
        writer.field(upstream.reason)
        writer.comma()
        _write_seconds(writer, upstream.expires_at + wall_offset if upstream.state == _REGISTERED else 0.0)
        writer.field(upstream.nonce)
        writer.field("" if upstream.candidate is None else str(upstream.candidate))
        if upstream.retry_at or upstream.failures:
            writer.comma()
            _write_seconds(writer, upstream.retry_at + wall_offset if upstream.retry_at else 0.0)
            writer.comma()
            writer.number(upstream.failures)
        writer.octets(b"]")
    writer.octets(b"],[]]")


@cython.cfunc
def _write_renewal(writer: Writer, binding: Binding, wall_offset: cython.double):
    """Its token, its new times, and those of its registrations: `[token, granted, expires_at, server, expires_at ...]`."""
    writer.octets(b"[")
    writer.quoted(binding.token)
    writer.comma()
    _write_seconds(writer, binding.granted + binding.spare)
    writer.comma()
    _write_seconds(writer, binding.expires_at + binding.spare + wall_offset)
    upstream: Upstream
    for upstream in binding.upstreams:
        if upstream.state == _REGISTERED:
            writer.field(upstream.server)
            writer.comma()
            _write_seconds(writer, upstream.expires_at + wall_offset)
    writer.octets(b"]")


@cython.cfunc
def _write_seconds(writer: Writer, seconds: cython.double):
    """With three digits behind the point; the shortest text that is exactly this number takes ten times as long to find."""
    milliseconds: cython.longlong = cython.cast(cython.longlong, max(0.0, seconds) * 1000.0)
    rest: cython.longlong = milliseconds % 1000
    writer.number(milliseconds // 1000)
    if rest:
        writer.octets(b".00" if rest < 10 else b".0" if rest < 100 else b".")
        writer.number(rest)
