"""What a registration leaves behind, and what it costs to remember one."""

from __future__ import annotations

import gc
import os
import tracemalloc

import pytest

from sbc.registration.archive import Archive
from sbc.registration.bindings import Binding, Upstream
from sbc.registration.contacts import Contact
from sbc.registration.errand import Errand
from sbc.registration.exchange import Exchange
from sbc.registration.leg import Leg
from sbc.registration.registrar import Registrar
from sbc.registration.targets import Targets
from sbc.store.sqlite import SqliteStore
from tests.helpers.scripted_servers import MemoryStore, Phone, accept, refuse, silent

compiled = pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") == "1", reason="the sources are run on purpose")


@pytest.mark.parametrize("replies", [(accept(), accept()), (refuse(403), accept()), (silent, accept()), (silent, silent)])
def test_nothing_is_left_for_the_garbage_collector(make_site, replies):
    """Once an exchange is over its objects go by themselves: a collection stops the telephones."""
    gc.collect()
    gc.disable()
    try:
        site = make_site()
        site.primary.reply, site.fallback.reply = replies
        phone = Phone(site)
        for expires in (3600, 3600, 0):
            phone.register(expires=expires)
            site.clock.advance(0.3)
        phone.register()
        site.clock.advance(32)
        site.primary.reply = site.fallback.reply = accept()  # nothing that the appliance tries again is under way at the end
        site.clock.advance(100)
        living = [type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, (Errand, Exchange, Leg))]
        assert [] == living
    finally:
        gc.enable()


@compiled
@pytest.mark.parametrize("made", [Archive, Binding, Contact, Errand, Exchange, Leg, Registrar, Targets, Upstream])
def test_classes_are_compiled(made):
    """A compiled class has no instance dictionary."""
    assert not hasattr(made.__new__(made), "__dict__")


@compiled
def test_memory_of_ten_thousand_phones(make_site, tmp_path):
    """At most 1.1 kB each, at two servers, after a restart; a nonce of each server comes on top of that."""
    store = MemoryStore()
    before = make_site(store=store)
    Phone(before).register()
    before.clock.advance(0.1)
    (row,) = store.bindings.values()
    bindings, registrations = [], []
    for number in range(10_000):
        name, token = f"phone{number}", f"{number:026d}"
        contact, call_id = f"<sip:{name}@192.0.2.1:5060>", f"{number:08d}-abc@192.0.2.1"
        where = {"host": f"10.0.{number % 256}.{number // 256}", "call_id": call_id}
        bindings.append(row._replace(token=token, aor=f"sip:{name}@example.com", contact=contact, **where))
        registrations += [upstream._replace(token=token) for upstream in store.registrations.values()]
    disk = SqliteStore(tmp_path, [].append)
    disk.save_registrations(bindings, registrations)
    disk.close()
    del bindings, registrations
    gc.collect()
    tracemalloc.start()
    try:
        after = make_site(store=SqliteStore(tmp_path, [].append))
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 10_000 == len(after.registrar.bindings)
    assert size / 10_000 <= 1100
