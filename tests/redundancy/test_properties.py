"""What holds for every group, every server's fate and every sequence of requests."""

from hypothesis import given
from hypothesis import strategies as st

from sbc.location.candidate import Candidate
from sbc.redundancy.plan import PHONE_PATIENCE
from sbc.redundancy.settings import FAILBACK_MODES

from .site import SILENT, Site, settings

METHODS = st.sampled_from(["INVITE", "REGISTER", "BYE", "SUBSCRIBE"])
FATES = st.sampled_from([200, 401, 403, 408, 430, 486, 500, 503, 603, SILENT, "icmp", "reset"])


@st.composite
def sites(draw):
    """One to four servers with one to three candidates each, and any behaviour of group and servers."""
    servers, candidates = [], {}
    for rank in range(1, draw(st.integers(1, 4)) + 1):
        name = f"server{rank}"
        servers.append({
            "name": name,
            "retry_counts": draw(st.integers(0, 20)),
            "register": draw(st.booleans()),
            "failback_mode": draw(st.sampled_from(FAILBACK_MODES)),
            "failback_timeout": draw(st.sampled_from([0, 60, 120])),
        })
        candidates[name] = [
            Candidate(f"192.0.2.{draw(st.integers(1, 6))}", 5060, "udp", draw(st.integers(1, 3)))
            for _ in range(draw(st.integers(1, 3)))
        ]
    group = settings(
        *servers,
        fall=draw(st.integers(1, 5)),
        rise=draw(st.integers(1, 3)),
        failback_hold=draw(st.sampled_from([0, 60])),
        skip_down=draw(st.booleans()),
        retry_timeout=draw(st.sampled_from([0, 0.2, 5])),
        registration=draw(st.sampled_from(["concurrent", "successive"])),
    )
    return Site(group, candidates)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fate"), st.integers(0, 11), FATES),
        st.tuples(st.just("request"), METHODS, st.one_of(st.none(), st.integers(0, 11))),
        st.tuples(st.just("register")),
        st.tuples(st.just("probe"), st.integers(0, 11)),
        st.tuples(st.just("pass"), st.floats(0, 200)),
        st.tuples(st.just("link"), st.booleans()),
    ),
    max_size=25,
)


@given(sites(), STEPS)
def test_every_request_and_the_working_server(site, steps):
    """A plan never repeats a candidate and never outlives its deadline; exactly one candidate works at any time."""
    listed = [candidate for _, candidate in site.group.candidates()]
    for step in steps:
        walks = perform(site, step, listed)
        for method, walk in walks:
            assert len(walk.servers) == len(set(walk.servers))
            limit = len(listed) * 32.0 if method == "INVITE" else PHONE_PATIENCE
            assert walk.seconds <= limit + 1e-6
        check_one_working(site)
        wakeup = site.group.next_wakeup(site.now)
        assert wakeup is None or wakeup >= site.now


def perform(site, step, listed):
    kind, *what = step
    if kind == "fate":
        site.answers[listed[what[0] % len(listed)]] = what[1]
    elif kind == "request":
        method, pinned = what
        first = None if pinned is None else listed[pinned % len(listed)]
        return [(method, site.request(method, first=first))]
    elif kind == "register" and site.group.register_plans(site.now):
        return [("REGISTER", walk) for walk in site.register().values()]
    elif kind == "probe":
        site.probe(listed[what[0] % len(listed)])
    elif kind == "pass":
        site.let_pass(what[0])
    elif kind == "link":
        site.group.set_link(what[0], site.now)
    return []


def check_one_working(site):
    described = [c for server in site.group.describe(site.now)["servers"] for c in server["candidates"]]
    assert 1 == sum(candidate["working"] for candidate in described)
    working = site.group.working(site.now)
    owner = site.group.owner(working)
    registrars = [server for server, _ in site.group.candidates() if server.register]
    assert owner.register or not registrars, "only a registrar server can be the working server (P8)"


@given(sites(), METHODS)
def test_a_request_reaches_every_candidate_before_it_gives_up(site, method):
    """P15: all possible servers, until success or the list is exhausted, when refusals cost no time."""
    listed = [candidate for _, candidate in site.group.candidates()]
    site.answers.update(dict.fromkeys(listed, "icmp"))
    walk = site.request(method)
    assert set(listed) == set(walk.servers)
    assert walk.verdict is None


@given(sites(), METHODS, st.integers(0, 11))
def test_one_living_server_is_found(site, method, alive):
    """Whoever is alive serves every request; soon nobody asks the dead first, each of whom is noticed once."""
    listed = [candidate for _, candidate in site.group.candidates()]
    living = listed[alive % len(listed)]
    site.answers.update({candidate: 200 if candidate == living else "icmp" for candidate in listed})
    for _ in listed:
        assert living == site.request(method).servers[-1]
    assert [living] == site.request(method).servers or not site.group.settings.skip_down
