"""REGISTER with passwords: whose challenge the phone sees, who gets which credentials, and who is let in (D8, D9)."""

from __future__ import annotations

import pytest

from sbc.location.candidate import Candidate
from sbc.sip.digest import Challenge, Credentials
from tests.helpers.scripted_servers import DigestRegistrar, Phone, accept, refuse, silent

REALM = "example.com"
USERS = {"alice": "secret"}


def with_passwords(site, **changes):
    """Both servers challenge, each with a nonce of its own."""
    for server, nonce in zip(site.servers, ("N1", "N2"), strict=True):
        server.reply = DigestRegistrar(REALM, USERS, nonce, **changes)


def register_with_digest(phone, *lines: str, **changes) -> None:
    """REGISTER, and once more with the answer to the challenge."""
    phone.register(*lines, **changes)
    phone.site.clock.advance(0.1)
    assert phone.last.status in (401, 407)
    phone.register(*lines, authorization=phone.answer_to(phone.last), **changes)
    phone.site.clock.advance(0.1)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("qop", [True, False])
@pytest.mark.parametrize("status", [401, 407])
def test_registered_at_both_with_own_credentials(make_site, password_file, algorithm, qop, status):
    """D8, method 1: the phone sees one registrar, the other's challenge is answered here."""
    site = make_site(credentials=password_file(("alice", REALM, "secret", algorithm)))
    with_passwords(site, algorithm=algorithm, qop=qop, status=status)
    phone = Phone(site)
    register_with_digest(phone)
    assert [status, 200] == phone.answers
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


def test_challenge_of_the_primary_reaches_the_phone_byte_for_byte(site):
    value = 'Digest  realm="example.com",nonce="N1" ,algorithm=MD5,  qop="auth",unknown="x, y"'
    site.primary.reply = refuse(401, "Unauthorized", ("WWW-Authenticate", value), ("Server", "Primary 1"))
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    assert [401] == phone.answers
    assert [value] == phone.last.get_all("WWW-Authenticate")
    assert "Primary 1" == phone.last.get("Server")
    assert (phone.call_id, "phone") == (phone.last.call_id, phone.last.from_tag)


def test_nothing_is_registered_for_a_stranger(site):
    """A fallback that trusts our address would register anybody: it is not even asked before the phone is accepted."""
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    phone = Phone(site)
    phone.register()
    site.clock.advance(60)
    assert [401] == phone.answers
    assert [] == site.fallback.requests


def test_nothing_is_registered_for_a_stranger_when_all_are_believed_down(site):
    """One after the other then, too."""
    for server in site.servers:
        site.take_down(server)
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    phone = Phone(site)
    phone.register()
    site.clock.advance(60)
    assert [401] == phone.answers
    assert [] == site.fallback.requests


def test_trusting_fallback_is_told_after_the_primary_accepted(site):
    """D8, method 3; and the phone's credentials are not shown to it."""
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    phone = Phone(site)
    register_with_digest(phone)
    assert [401, 200] == phone.answers
    assert [None] == site.fallback.authorizations
    assert "registered" == site.state("fallback")


def test_phone_s_credentials_go_to_the_issuer_only(make_site, password_file):
    """D8: never forward an Authorization made for server A to server B."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    shown = Credentials.parse(site.primary.authorizations[-1])
    assert ("N1", "phonecnonce") == (shown.nonce, shown.cnonce)
    own = [Credentials.parse(value) for value in site.fallback.authorizations if value]
    assert ["N2"] == [credentials.nonce for credentials in own]
    assert "phonecnonce" not in {credentials.cnonce for credentials in own}


def test_phone_that_proves_itself_is_told_to_all_at_once(make_site, password_file):
    """With the password file the fallback does not wait for the primary's word: concurrent in the full sense."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(1)
    site.primary.delay = 1.0
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert "registered" == site.state("fallback")
    assert [401] == phone.answers
    site.clock.advance(1)
    assert [401, 200] == phone.answers


def test_primary_dies_between_challenge_and_answer(make_site, password_file):
    """D9: the answer still goes to the issuer; the password file lets the fallback be told meanwhile."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.primary.reply = silent
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(2.1)
    assert [401, 200] == phone.answers
    assert ["registering", "registered"] == [site.state("primary"), site.state("fallback")]


def test_fallback_s_challenge_after_the_primary_went_silent(site):
    """Without the password file: the next challenge, marked stale so that the phone answers it."""
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.primary.reply = silent
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(2.1)
    assert [401, 401] == phone.answers
    challenge = Challenge.parse(phone.last.get("WWW-Authenticate"))
    assert ("N2", True) == (challenge.nonce, challenge.stale)
    assert [None] == site.fallback.authorizations
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert "registered" == site.state("fallback")
    site.clock.advance(2)
    assert [401, 401, 200] == phone.answers


def test_nonce_of_a_server_that_is_down_is_not_waited_for(site):
    """D9: strip the credentials, ask the next, stale=true."""
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.take_down(site.primary)
    site.primary.reply = silent
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert [401, 401] == phone.answers
    assert Challenge.parse(phone.last.get("WWW-Authenticate")).stale


def test_silent_primary_gives_the_fallback_s_challenge_after_register_wait(site):
    """Without credentials shown there is nothing stale about it."""
    with_passwords(site)
    site.primary.reply = silent
    phone = Phone(site)
    phone.register()
    site.clock.advance(1.9)
    assert [] == phone.answers
    site.clock.advance(0.2)
    assert [401] == phone.answers
    assert not Challenge.parse(phone.last.get("WWW-Authenticate")).stale


def test_credentials_go_to_the_issuer_even_when_it_is_not_the_best(site):
    """D9: sticky while the issuer is not down, even when the primary is back."""
    with_passwords(site)
    site.primary.unreachable = True
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    site.primary.unreachable = False
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert [401, 200] == phone.answers
    assert "registered" == site.state("fallback")


def test_unknown_nonce_is_not_shown_to_anybody(site):
    """After our restart nobody knows whose nonce it is: a fresh challenge, stale=true, costs a round and no account."""
    with_passwords(site)
    phone = Phone(site)
    old = 'Authorization: Digest username="alice",realm="example.com",nonce="old",uri="sip:example.com",response="0"'
    phone.register(authorization=old)
    site.clock.advance(0.1)
    assert [None] == site.primary.authorizations
    assert Challenge.parse(phone.last.get("WWW-Authenticate")).stale
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert [401, 200] == phone.answers


def test_stale_false_becomes_true_and_the_rest_stays(site):
    value = 'Digest realm="a, stale=x", nonce="N1", stale=FALSE, qop="auth"'
    site.primary.reply = refuse(401, None, ("WWW-Authenticate", value))
    phone = Phone(site)
    old = 'Authorization: Digest username="alice",realm="example.com",nonce="old",uri="sip:example.com",response="0"'
    phone.register(authorization=old)
    site.clock.advance(0.1)
    assert ['Digest realm="a, stale=x", nonce="N1", qop="auth", stale=true'] == phone.last.get_all("WWW-Authenticate")


def test_expired_nonce_with_own_credentials_needs_no_second_round(make_site, password_file):
    """The phone has proved itself; the primary's new challenge is answered here."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    challenge = next(response for _, response in phone.flow.sent if response.status == 401)
    site.primary.reply = DigestRegistrar(REALM, USERS, "N3")
    phone.register(authorization=phone.answer_to(challenge))
    site.clock.advance(0.1)
    assert [401, 200, 200] == phone.answers
    assert ["N1", "N3"] == [Credentials.parse(value).nonce for value in site.primary.authorizations[-2:]]


def test_nonce_count_grows_over_renewals(make_site, password_file):
    """RFC 7616 3.4: each use of a nonce has the next count; and the challenge is not asked for again."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    for _ in range(3):
        register_with_digest(phone)
    assert [1, 2, 3] == site.fallback.reply.counts
    assert 4 == len(site.fallback.requests)


def test_own_nonce_that_went_stale_is_replaced(make_site, password_file):
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    site.fallback.reply = DigestRegistrar(REALM, USERS, "N9", stale=True)
    register_with_digest(phone)
    assert "registered" == site.state("fallback")
    assert ["N2", "N9"] == [Credentials.parse(value).nonce for value in site.fallback.authorizations[-2:] if value]


def test_server_that_calls_every_nonce_stale_is_left(make_site, password_file):
    """One answer and one more for a stale nonce; then this registration has failed ."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    numbers = iter(range(100))

    def never_content(request):
        value = f'Digest realm="{REALM}", nonce="S{next(numbers)}", stale=true, qop="auth"'
        return refuse(401, None, ("WWW-Authenticate", value))(request)

    site.fallback.reply = never_content
    phone = Phone(site)
    register_with_digest(phone)
    site.clock.advance(10)
    assert 3 == len(site.fallback.requests)
    assert [401, 200] == phone.answers
    assert "failed" == site.state("fallback")


def test_wrong_password_in_the_file_fails_at_that_server_only(make_site, password_file):
    site = make_site(credentials=password_file(("alice", REALM, "secret"), ("alice", "other", "wrong")))
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    site.fallback.reply = DigestRegistrar("other", USERS, "N2")
    phone = Phone(site)
    register_with_digest(phone)
    assert [401, 200] == phone.answers
    assert ["registered", "failed"] == [site.state("primary"), site.state("fallback")]
    assert 2 == len(site.fallback.requests)


def test_different_realms(make_site, password_file):
    site = make_site(credentials=password_file(("alice", REALM, "secret"), ("alice", "other", "second")))
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    site.fallback.reply = DigestRegistrar("other", {"alice": "second"}, "N2")
    phone = Phone(site)
    register_with_digest(phone)
    assert ["registered", "registered"] == [site.state("primary"), site.state("fallback")]


def test_first_challenge_that_the_file_can_answer_is_answered(make_site, password_file):
    """RFC 8760: several challenges, topmost preferred; the file may only have the MD5 form."""
    site = make_site(credentials=password_file(("alice", REALM, "secret", "MD5")))
    with_passwords(site)
    md5 = DigestRegistrar(REALM, USERS, "N2")

    def both(request):
        response = md5(request)
        if response.status == 401:
            response.prepend("WWW-Authenticate", f'Digest realm="{REALM}", nonce="S2", algorithm=SHA-256, qop="auth"')
        return response

    site.fallback.reply = both
    phone = Phone(site)
    register_with_digest(phone)
    assert "registered" == site.state("fallback")


def test_auth_name_that_is_not_the_number(make_site, password_file):
    """Y15: the digest user name may differ; then the primary's word is needed once, and remembered."""
    site = make_site(credentials=password_file(("auth-1", REALM, "secret")))
    for server, nonce in zip(site.servers, ("N1", "N2"), strict=True):
        server.reply = DigestRegistrar(REALM, {"auth-1": "secret"}, nonce)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    phone.register(authorization=phone.answer_to(phone.last, username="auth-1"))
    site.clock.advance(0.1)
    assert [401, 200] == phone.answers
    assert "registered" == site.state("fallback")
    assert "auth-1" == site.registrar.bindings_for_aor("sip:alice@example.com")[0].username


def test_other_user_s_password_is_no_proof(make_site, password_file):
    """A phone with a good password of its own, registering somebody else's number: our own check does not let it in."""
    table = {"REGISTER": {"403": "return"}}
    site = make_site(credentials=password_file(("mallory", REALM, "mine")), status_failover=table)
    digest_server = DigestRegistrar(REALM, {"mallory": "mine"}, "N1")
    site.primary.reply = lambda request: (
        refuse(403)(request) if digest_server(request).status == 200 else digest_server(request)
    )
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    phone.register(authorization=phone.answer_to(phone.last, username="mallory", password="mine"))
    site.clock.advance(1)
    assert [401, 403] == phone.answers
    assert [] == site.fallback.requests


def test_overheard_answer_is_no_proof(make_site, password_file):
    """An answer that was shown before proves nothing when somebody else repeats it."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    overheard = site.primary.authorizations[-1]
    stranger = Phone(site, port=6666)
    stranger.register(authorization=f"Authorization: {overheard}")
    before = len(site.fallback.requests)
    site.clock.advance(1)
    assert [401] == stranger.answers
    assert before == len(site.fallback.requests)


def test_a_trusting_fallback_does_not_vouch_for_a_phone_at_the_primary(make_site, password_file):
    """The password file opens doors only for who has proved to be the user."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    site.primary.reply = DigestRegistrar(REALM, USERS, "N1")
    site.primary.delay = 3.0
    site.fallback.reply = accept()
    stranger = Phone(site)
    stranger.register()
    site.clock.advance(10)
    assert [None] == site.primary.authorizations


def test_wrong_password_is_not_forwarded_again_and_again(make_site, password_file):
    """baresip repeats itself 25 times within milliseconds, and the server locks the account. Here the
    server hears of three; the next ones get a 403, and when it goes on, it is left alone."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.01)
    for _ in range(25):
        if phone.last.status == 401:
            phone.register(authorization=phone.answer_to(phone.last, password="wrong"))
        else:
            phone.register()
        site.clock.advance(0.01)
    assert 3 == sum(value is not None for value in site.primary.authorizations)
    assert [] == site.fallback.requests
    assert [401] * 4 + [403] * 7 + [500] * 15 == phone.answers
    assert 300 <= int(phone.last.get("Retry-After")) <= 361
    assert 4 == len(site.primary.requests)
    site.clock.advance(451)
    register_with_digest(phone)
    assert 200 == phone.answers[-1]


def test_wrong_password_at_the_primary_is_the_phone_s_to_know(site):
    """A second challenge to credentials of its own nonce goes back as it is, without stale: the password is wrong."""
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    phone.register(authorization=phone.answer_to(phone.last, password="wrong"))
    site.clock.advance(0.1)
    assert [401, 401] == phone.answers
    assert not Challenge.parse(phone.last.get("WWW-Authenticate")).stale


def test_refused_after_credentials_is_failed(site):
    """V16; and the fallback's own word is asked (D6)."""
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    site.primary.reply = refuse(403)
    site.fallback.reply = refuse(403)
    phone.register()
    site.clock.advance(0.1)
    assert [401, 200, 403] == phone.answers
    assert "failed" == site.state("primary")


def test_failure_of_an_account_is_no_failure_of_the_server(site):
    """V16: per AoR, not server-wide."""
    site.primary.reply = refuse(403)
    phone = Phone(site)
    phone.register()
    site.clock.advance(5)
    assert "up" == site.group.health(site.primary.candidate).state.value


def test_first_challenge_of_a_renewal_says_nothing_about_the_state(site):
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    phone.register()
    site.clock.advance(0.1)
    assert "registered" == site.state("primary")


def test_next_nonce_is_remembered(site):
    """RFC 7616 3.5: a nonce announced in Authentication-Info belongs to that server (linphone, sofia use it)."""
    first = DigestRegistrar(REALM, USERS, "N1")

    def announcing(request):
        response = first(request)
        if response.status == 200:
            response.append("Authentication-Info", 'nextnonce="N1b", qop=auth')
        return response

    site.primary.reply = announcing
    phone = Phone(site)
    register_with_digest(phone)
    assert 'nextnonce="N1b", qop=auth' == phone.last.get("Authentication-Info")
    assert site.primary.candidate == site.registrar.nonces.issuer("N1b", site.clock.seconds())


@pytest.mark.parametrize("other_transport", ["tcp", "tls"])
def test_one_nonce_for_all_that_are_challenged_at_once(site, other_transport):
    """Kamailio's is the same within a second: another group's phone has it too, from the same server by another transport."""
    with_passwords(site)
    phone = Phone(site)
    phone.register()
    site.clock.advance(0.1)
    elsewhere = Candidate("192.0.2.99", 5060, other_transport)
    site.registrar.nonces.learn(phone.last, elsewhere, site.clock.seconds())
    phone.register(authorization=phone.answer_to(phone.last))
    site.clock.advance(0.1)
    assert [401, 200] == phone.answers
    assert "registered" == site.state("primary")


def test_interval_too_brief_is_settled_here(make_site, password_file):
    """423 of the other server: asked again with its Min-Expires; the phone is told what it wanted."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    inner = site.fallback.reply

    def choosy(request):
        if int(request.get("Expires")) < 600:
            return refuse(423, None, ("Min-Expires", "600"))(request)
        return inner(request)

    site.fallback.reply = choosy
    phone = Phone(site)
    register_with_digest(phone, expires=120)
    assert [401, 200] == phone.answers
    assert "registered" == site.state("fallback")
    assert phone.last.get("Contact").endswith("expires=120")


def test_interval_too_brief_with_the_phone_s_credentials_is_the_phone_s(site):
    """The nonce count is used up: only the phone can ask again."""
    inner = DigestRegistrar(REALM, USERS, "N1")

    def choosy(request):
        answer = inner(request)
        if answer.status == 200 and int(request.get("Expires")) < 600:
            return refuse(423, None, ("Min-Expires", "600"))(request)
        return answer

    site.primary.reply = choosy
    phone = Phone(site)
    register_with_digest(phone, expires=120)
    assert [401, 423] == phone.answers
    assert "600" == phone.last.get("Min-Expires")
    assert [] == site.fallback.requests


def test_authentication_info_about_our_own_credentials_is_ours(make_site, password_file):
    """It is true of the credentials that the server got; a phone that checks rspauth would take it for an attack."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    phone = Phone(site)
    register_with_digest(phone)
    challenge = next(response for _, response in phone.flow.sent if response.status == 401)
    renewed = DigestRegistrar(REALM, USERS, "N3")

    def informing(request):
        response = renewed(request)
        response.append("Authentication-Info", 'rspauth="0123"')
        return response

    site.primary.reply = informing
    phone.register(authorization=phone.answer_to(challenge))
    site.clock.advance(0.1)
    assert 200 == phone.last.status
    assert not phone.last.has("Authentication-Info")


def test_answering_a_challenge_does_not_prolong_the_time(make_site, password_file):
    """D1: whatever happens at a server, nothing is sent after the phone has given up."""
    site = make_site(credentials=password_file(("alice", REALM, "secret")))
    with_passwords(site)
    challenge = site.fallback.reply
    site.fallback.reply = lambda request: None if request.has("Authorization") else challenge(request)
    site.fallback.delay = 5.0
    phone = Phone(site)
    register_with_digest(phone)
    site.clock.advance(31.0)
    assert 2 == len(site.fallback.requests)
    assert 0 == site.layer.transactions["client", "non-invite"]
    assert "unregistered" == site.state("fallback")


def test_other_user_name_at_the_same_contact(make_site, password_file):
    """The account in the phone was changed: the old one is not used for it any more."""
    users = {"alice": "secret", "auth-2": "secret"}
    site = make_site(credentials=password_file(*((user, REALM, "secret") for user in users)))
    for server, nonce in zip(site.servers, ("N1", "N2"), strict=True):
        server.reply = DigestRegistrar(REALM, users, nonce)
    phone = Phone(site)
    register_with_digest(phone)
    phone.register()
    site.clock.advance(0.1)
    phone.register(authorization=phone.answer_to(phone.last, username="auth-2"))
    site.clock.advance(0.1)
    assert "auth-2" == Credentials.parse(site.fallback.authorizations[-1]).username
