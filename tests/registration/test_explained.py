"""What `sbc explain` and the status say of one phone: the data behind it."""

from __future__ import annotations

from sbc.observe.explain import render
from sbc.observe.together import merged_explanation
from sbc.registration import registrar
from tests.helpers.scripted_servers import DigestRegistrar, Phone, Site, refuse
from tests.registration.test_modes import come_back, die, renew, with_passwords

AOR = "sip:alice@example.com"


def register(phone: Phone, wait: float = 0.5, **how) -> int:
    phone.register(**how)
    phone.site.clock.advance(wait)
    return phone.answers[-1]


def explained(site: Site, aor: str = AOR) -> dict:
    site.registrar.groups = {"office": site.group}
    return site.registrar.explain(aor, site.clock.seconds())


def at_servers(found: dict) -> dict:
    return {entry["server"]: entry for entry in found["contacts"][0]["servers"]}


def test_phone_that_is_well(site):
    register(Phone(site))
    found = explained(site)
    (contact,) = found["contacts"]
    assert (True, AOR, []) == (found["known"], found["aor"], found["similar"])
    assert ("office", "alternating", "primary") == (contact["group"], contact["method"], contact["new_requests_go_to"])
    assert contact["next_of_ours"] is None
    for entry in at_servers(found).values():
        assert ("registered", "open", None, 0) == (entry["state"], entry["method"], entry["retry_in"], entry["failures"])
        assert 0 <= entry["due_in"] < entry["expires_in"]


def test_account_that_is_refused(site):
    """V16: why, how often, when again, and that the appliance will do it."""
    phone = Phone(site)
    register(phone)
    site.primary.reply = refuse(403, "Suspended")
    register(phone, cseq=50)
    site.clock.advance(1)
    found = explained(site)
    entry = at_servers(found)["primary"]
    assert ("failed", "403 Suspended", 1) == (entry["state"], entry["reason"], entry["failures"])
    assert 0 < entry["retry_in"] <= 60
    assert "primary" == found["contacts"][0]["next_of_ours"]["server"]
    assert abs(entry["retry_in"] - found["contacts"][0]["next_of_ours"]["in"]) <= 1


def test_methods(make_site, password_file):
    """The primary wants the phone's answer, the fallback is answered from the password file."""
    users = {"alice": "secret"}
    site = make_site(credentials=password_file(("alice", "other", "secret")))
    site.primary.reply = DigestRegistrar("example.com", users, "N1")
    site.fallback.reply = DigestRegistrar("other", users, "N2")
    phone = Phone(site)
    register(phone)
    assert 200 == register(phone, authorization=phone.answer_to(phone.last))
    entries = at_servers(explained(site))
    assert ["alternating", "own credentials"] == [entries[name]["method"] for name in ("primary", "fallback")]
    row = site.registrar.describe(site.clock.seconds())["phones"][0]
    assert entries == {entry["server"]: entry for entry in row["servers"]}


def test_wrong_passwords_of_a_phone_that_nobody_has_accepted(site):
    for server in site.servers:
        server.reply = DigestRegistrar("example.com", {"alice": "secret"}, f"N-{server.name}", qop=False)
    phone = Phone(site)
    register(phone)
    register(phone, authorization=phone.answer_to(phone.last, password="wrong"))
    found = explained(site)
    assert (True, []) == (found["known"], found["contacts"])
    assert [("203.0.113.7", "primary", 1)] == [
        (each["host"], each["server"], each["wrong_passwords"]) for each in found["rejected"]
    ]
    assert ["office"] == [group["name"] for group in found["groups"]]
    assert 1 == len(site.registrar.describe(site.clock.seconds())["rejected"])


def test_looping_phone(site):
    site.primary.reply = site.fallback.reply = refuse(404)
    phone = Phone(site)
    for _ in range(20):
        register(phone, wait=0.01)
    (kept,) = explained(site)["quarantine"]
    assert (300, "203.0.113.7") == (kept["for"], kept["host"])
    assert 1 == len(site.registrar.describe(site.clock.seconds())["quarantine"])


def test_removal_that_a_server_has_not_heard_of(site):
    """D13"""
    phone = Phone(site)
    register(phone)
    site.take_down(site.fallback)
    site.fallback.reply = lambda request: None
    register(phone, expires=0, wait=40)
    found = explained(site)
    assert (True, []) == (found["known"], found["contacts"])
    assert ["fallback"] == [each["server"] for each in found["removals"]]


def test_unknown_number(site):
    """It says which ones are like it."""
    register(Phone(site))
    for text in ("alice", "Alice@example.com", "sip:alice@elsewhere.example"):
        found = explained(site, text)
        assert (False, [AOR]) == (found["known"], found["similar"]), text
    assert not explained(site, "sip:carol@example.com")["similar"]
    assert not explained(site, "")["known"]


def test_number_without_its_scheme(site):
    register(Phone(site))
    assert explained(site, "alice@EXAMPLE.com:5060")["known"]


def test_d18_phone_that_waits_for_its_turn_at_a_server_that_is_back(make_site):
    """Which server, how far it is, and whether the appliance or the phone itself will do it."""
    site = make_site(rise=1, resync_hold=30)
    for number in range(3):
        register(Phone(site, user=f"u{number}", port=5100 + number))
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(10)
    (contact,) = explained(site, "sip:u1@example.com")["contacts"]
    assert contact["next_of_ours"] is None
    (waits,) = contact["resyncs"]
    assert ("fallback", False, False) == (waits["server"], waits["by_phone"], waits["under_way"])
    assert ("holding", 20, 3, 0) == (waits["phase"], waits["starts_in"], waits["left"], waits["done"])
    assert (True, 0, 1) == (waits["returned"], waits["left_to_phones"], round(waits["seconds_left"]))
    site.clock.advance(21)
    (contact,) = explained(site, "sip:u1@example.com")["contacts"]
    assert [] == contact["resyncs"]


def test_d18_phone_whose_password_is_not_known_waits_for_itself(make_site):
    site = make_site(rise=1, resync_hold=30)
    with_passwords(site)
    phone = Phone(site)
    assert 200 == renew(phone)
    assert 200 == renew(phone)
    die(site, site.fallback)
    site.clock.advance(100)
    come_back(site, site.fallback)
    site.clock.advance(10)
    (contact,) = explained(site)["contacts"]
    assert [("fallback", True, False, "holding", 1)] == [
        (waits["server"], waits["by_phone"], waits["under_way"], waits["phase"], waits["left_to_phones"])
        for waits in contact["resyncs"]
    ]


def test_all_phones_in_lots(site, monkeypatch):
    """The same rows as on the status page; who leaves meanwhile is left out."""
    monkeypatch.setattr(registrar, "LOT", 2)
    phones = [Phone(site, user=f"u{number}", port=5100 + number) for number in range(5)]
    for phone in phones:
        register(phone)
    assert site.registrar.describe(site.clock.seconds())["phones"] == [
        row for lot in site.registrar.phones_in_lots() for row in lot
    ]
    lots = site.registrar.phones_in_lots()
    assert ["sip:u0@example.com", "sip:u1@example.com"] == [row["aor"] for row in next(lots)]
    register(phones[2], expires=0)
    assert ["sip:u3@example.com"] == [row["aor"] for row in next(lots)]
    assert [1] == [len(lot) for lot in lots]


def test_contacts_at_two_workers_are_explained_together(make_site):
    """`workers = 2`, two phones of one number, each served by another one; a third worker knows neither. The servers are told as
    the spokesman sees them."""
    sites = [make_site() for _ in range(3)]
    phones = [Phone(site, port=5100 + number) for number, site in enumerate(sites[:2])]
    for phone in phones:
        register(phone)
    sites[1].fallback.reply = refuse(403)
    register(phones[1])
    parts = {worker: {**explained(site), "events": [{"at": worker, "text": "so"}]} for worker, site in enumerate(sites)}
    parts[2]["groups"][0]["working"] = "as the spokesman sees it"
    merged = merged_explanation(parts, 2)
    assert (AOR, True, []) == (merged["aor"], merged["known"], merged["similar"])
    assert ["203.0.113.7:5100;udp", "203.0.113.7:5101;udp"] == [each["source"] for each in merged["contacts"]]
    assert {"fallback": 1} == {
        entry["server"]: entry["failures"]
        for contact in merged["contacts"] for entry in contact["servers"] if entry["state"] == "failed"
    }  # fmt: skip
    assert [("office", "as the spokesman sees it")] == [(group["name"], group["working"]) for group in merged["groups"]]
    assert [1, 0] == [event["at"] for event in merged["events"] if event["at"] < 2]
    text = render(merged, 0.0)
    assert text.count("its next call goes to primary") == 2 and text.count("REFUSED once: 403") == 1


def test_number_that_no_worker_knows(make_site):
    sites = [make_site() for _ in range(2)]
    register(Phone(sites[1]))
    parts = {worker: {**explained(site, "sip:Alice@example.com"), "events": []} for worker, site in enumerate(sites)}
    merged = merged_explanation(parts, 0)
    assert (False, [AOR], []) == (merged["known"], merged["similar"], merged["contacts"])
    assert {"aor": "", "known": False} == {name: merged_explanation({}, 0)[name] for name in ("aor", "known")}
