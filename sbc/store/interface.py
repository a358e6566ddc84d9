"""What is kept across a restart, as rows, and what a store must offer.

Rows are tuples of plain values, so that they go to and from a database as they are. Times in rows are wall clock
(seconds since 1970): a monotonic clock means nothing to the next process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class BindingRow(NamedTuple):
    """A contact of a phone: where calls for it go."""

    token: str
    """The gw-tok of the Contact that we wrote at the servers; unique."""
    group: str
    aor: str
    contact: str
    """The phone's Contact value as it spelled it, parameters included."""
    username: str
    """The digest user name that the phone proved to be, "" when it never had to."""
    call_id: str
    cseq: int
    transport: str
    host: str
    port: int
    local_host: str
    local_port: int
    granted: float
    """Seconds granted at `expires_at - granted`: a wall clock that was set back must not make a binding live longer."""
    expires_at: float
    agent: str | None = None
    """Its User-Agent, as far as it is looked at, where that may tell its kind; "" when it sent none, None when it was not
    looked at: in a group of one kind of phones, and by former versions, whose rows end before this field."""
    method: str = ""
    """The method of several challenges that was learned for this phone, "" while it is the configured one."""
    method_reason: str = ""
    """Why, for people."""


class RegistrationRow(NamedTuple):
    """One contact at one server."""

    token: str
    server: str
    state: str
    reason: str
    expires_at: float
    nonce: str = ""
    """The last one that the phone answered there and that was accepted; "" when it never had to."""
    candidate: str = ""
    """The address of the server that has the registration and issued the nonce, as `str(Candidate)`; "" when not known."""
    retry_at: float = 0.0
    """When an account that the server refuses may be tried again; 0 when it is not refused."""
    failures: int = 0
    """How many refusals of the account in a row led to that."""


class RemovalRow(NamedTuple):
    """A contact that its phone has removed, and a server that has yet to hear of it (pitfall D13).

    The same fields as in `BindingRow`, as far as a REGISTER of ours for that contact needs them.
    """

    token: str
    server: str
    group: str
    aor: str
    contact: str
    username: str
    transport: str
    host: str
    port: int
    local_host: str
    local_port: int
    agent: str | None
    until: float
    """When the registration lapses there by itself."""


class RegistrationStore(Protocol):
    """Bindings, registrations and removals. No method raises: a store that cannot write reports an Alarm and keeps trying."""

    def load_registrations(self) -> tuple[list[BindingRow], list[RegistrationRow]]:
        """All that is kept, expired or not."""

    def load_removals(self) -> list[RemovalRow]:
        """All that is kept, lapsed or not."""

    def save_registrations(
        self,
        bindings: Sequence[BindingRow],
        registrations: Sequence[RegistrationRow],
        removed: Sequence[str] = (),
        removals: Sequence[RemovalRow] = (),
        heard: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write these rows over what is kept under their keys, and forget the bindings of the `removed` tokens and the
        removals, by token and server, that have been `heard` of; in one transaction.

        On return they survive a SIGKILL.
        """

    def check(self) -> bool:
        """See whether what was saved is still there, and try again to write what could not be written. False: it is lost, and
        those who know it have to save it anew."""

    def note(self, line: bytes) -> bool:
        """Write this down for now, one line as `sbc.store.journal` reads it: sooner done than `save_registrations`, and as safe.
        False when it cannot be; then what it is about must be saved."""

    @property
    def notes_are_many(self) -> bool:
        """It is time to save all that was noted."""

    def notes_saved(self) -> bool:
        """All that was noted has been saved: the notes may be forgotten. False when they have to stay, because not all of it
        could be written."""

    @property
    def up_to_date(self) -> bool:
        """False while something that was saved could not be written."""


class NoNotes:
    """Of a store that saves everything at once."""

    notes_are_many = False
    up_to_date = True

    def check(self) -> bool:
        return True

    def note(self, line: bytes) -> bool:
        return False

    def notes_saved(self) -> bool:
        return True


class CounterStore(Protocol):
    """Totals that go on counting after a restart."""

    def load_counters(self) -> dict[str, float]: ...

    def save_counters(self, counters: Mapping[str, float]) -> None: ...


class DnsMemoryStore(Protocol):
    """The last good answer to each DNS question, in whatever words the locator writes."""

    def load(self) -> dict[str, str]: ...

    def save(self, answers: Mapping[str, str]) -> None: ...

    def forget(self, questions: Collection[str]) -> None: ...


class SecretStore(Protocol):
    """What must not be guessed."""

    def secret(self) -> bytes:
        """32 random bytes, made at the first start and the same ever after: the key of cookies and contact tokens."""


class RegistrarStore(RegistrationStore, SecretStore, Protocol):
    """What the registrar needs."""
