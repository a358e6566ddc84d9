"""Digest authentication: RFC 7616 with RFC 8760, and the credentials file."""

import os

import pytest

from sbc.sip.digest import (
    Challenge,
    Credentials,
    HtdigestError,
    HtdigestFile,
    answer,
    ha1,
    supported,
    verify,
)
from sbc.sip.errors import LocalError, MalformedMessage

REALM = "http-auth@example.org"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


class TestVectors:
    """Examples with known results."""

    @pytest.mark.parametrize(
        ("algorithm", "response"),
        [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ],
    )
    def test_rfc_7616(self, algorithm, response):
        """RFC 7616 section 3.9.1."""
        challenge = Challenge(REALM, NONCE, algorithm, ("auth", "auth-int"), OPAQUE)
        secret = ha1("Mufasa", REALM, "Circle of Life", algorithm)
        credentials = answer(challenge, secret, "Mufasa", "GET", "/dir/index.html", 1, CNONCE)
        assert response == credentials.response
        assert verify(credentials, secret, "GET")

    def test_rfc_2617(self):
        """RFC 2617 section 3.5."""
        challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "MD5", ("auth",))
        secret = ha1("Mufasa", "testrealm@host.com", "Circle Of Life")
        assert "939e7578ed9e3c518a452acee763bce9" == secret
        credentials = answer(challenge, secret, "Mufasa", "GET", "/dir/index.html", 1, "0a4f113b")
        assert "6629fae49393a05397450978507c4ef1" == credentials.response

    def test_without_qop(self):
        """RFC 2069: the form of servers that offer no qop (the erratum's value)."""
        challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
        secret = ha1("Mufasa", "testrealm@host.com", "CircleOfLife")
        credentials = answer(challenge, secret, "Mufasa", "GET", "/dir/index.html", 1, "unused")
        assert "1949323746fe6a43ef61f9606e7febea" == credentials.response
        assert ("", None, "") == (credentials.qop, credentials.nc, credentials.cnonce)


class TestChallenge:
    def test_parse(self):
        challenge = Challenge.parse(
            'digest  realm="a \\"b\\", c",nonce="n", algorithm=sha-256 , stale=TRUE,opaque="", qop="auth, auth-int",x=y'
        )
        assert ('a "b", c', "n", "sha-256", ("auth", "auth-int"), "", True) == (
            challenge.realm,
            challenge.nonce,
            challenge.algorithm,
            challenge.qop,
            challenge.opaque,
            challenge.stale,
        )

    @pytest.mark.parametrize(
        "challenge",
        [
            Challenge("r", "n"),
            Challenge('r "q" \\', "n", "SHA-256", ("auth",), "o", True),
            Challenge("", "n", "MD5-sess", ("auth", "auth-int")),
        ],
    )
    def test_round_trip(self, challenge):
        assert challenge == Challenge.parse(str(challenge))

    def test_as_written(self):
        """realm, nonce, opaque and qop are quoted, stale and algorithm are not (RFC 7616 section 3.3)."""
        assert 'Digest realm="r", nonce="n", opaque="o", stale=true, algorithm=MD5, qop="auth"' == str(
            Challenge("r", "n", "MD5", ("auth",), "o").with_stale()
        )

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "Digest",
            "Basic realm=x",
            "Digest realm=x",
            'Digest nonce="n"',
            'Digest realm="r", nonce=""',
            'Digest realm="never closed, nonce="n"',
            'Digest realm="r", realm="r", nonce="n"',
            'Digest realm="r" nonce="n"',
            "NoOneKnowsThisScheme opaque-data=here",
        ],
    )
    def test_malformed(self, value):
        with pytest.raises(MalformedMessage):
            Challenge.parse(value)

    @pytest.mark.parametrize(
        ("challenge", "expected"),
        [
            (Challenge("r", "n"), True),
            (Challenge("r", "n", "sha-256-SESS", ("auth-int",)), True),
            (Challenge("r", "n", "SHA-512-256"), False),
            (Challenge("r", "n", "MD5", ("token",)), False),
        ],
    )
    def test_supported(self, challenge, expected):
        assert expected == supported(challenge)
        if not expected:
            with pytest.raises(LocalError):
                answer(challenge, "0" * 32, "u", "REGISTER", "sip:x", 1, "c")


class TestCredentials:
    @pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "MD5-sess", "SHA-256-sess"])
    @pytest.mark.parametrize("qop", [(), ("auth",), ("auth-int",), ("auth", "auth-int")])
    def test_answer_verifies(self, algorithm, qop):
        """What we answer we accept, after a trip over the wire; and nothing that was changed."""
        challenge = Challenge("r", "n", algorithm, qop, "o")
        secret = ha1("u", "r", "secret", algorithm)
        sent = answer(challenge, secret, "u", "REGISTER", "sip:x", 2, "cn", b"body")
        received = Credentials.parse(str(sent))
        assert sent == received
        assert verify(received, secret, "REGISTER", b"body")
        assert not verify(received, secret, "INVITE", b"body")
        assert not verify(received, ha1("u", "r", "guess", algorithm), "REGISTER", b"body")
        assert (qop == ("auth-int",)) == (not verify(received, secret, "REGISTER", b"other"))

    def test_auth_is_preferred(self):
        """auth-int breaks when anything on the way changes the body."""
        assert "auth" == answer(Challenge("r", "n", "MD5", ("auth-int", "auth")), "0" * 32, "u", "M", "x", 1, "c").qop

    def test_parse(self):
        credentials = Credentials.parse(
            'Digest username="u",realm="r",nonce="n",uri="sip:x",response="ABCDEF",nc=0000000a,qop="auth",cnonce="c"'
        )
        assert (10, "auth", "abcdef", "MD5") == (
            credentials.nc,
            credentials.qop,
            credentials.response,
            credentials.algorithm,
        )

    @pytest.mark.parametrize(
        "change",
        [
            ('username="u"', ""),
            ('realm="r"', ""),
            ('nonce="n"', ""),
            ('uri="sip:x"', ""),
            ('response="0"', ""),
            ("nc=00000001", "nc=x"),
            ("nc=00000001", "nc=000000001"),
            ("nc=00000001", ""),
            ('cnonce="c"', ""),
            ("Digest", "Basic"),
        ],
    )
    def test_malformed(self, change):
        value = (
            'Digest username="u", realm="r", nonce="n", uri="sip:x", response="0", qop=auth, nc=00000001, cnonce="c"'
        )
        assert Credentials.parse(value)
        with pytest.raises(MalformedMessage):
            Credentials.parse(value.replace(*change))

    @pytest.mark.parametrize("change", ["algorithm=SHA-1", "qop=token"])
    def test_unknown_is_not_verified(self, change):
        value = f'Digest username="u", realm="r", nonce="n", uri="x", response="0", nc=1, cnonce="c", {change}'
        assert not verify(Credentials.parse(value), "0" * 32, "REGISTER")

    def test_repr_says_no_secret(self):
        credentials = answer(Challenge("r", "n"), ha1("u", "r", "p"), "u", "REGISTER", "sip:x", 1, "c")
        assert credentials.response not in repr(credentials)


class TestHtdigestFile:
    MD5 = "0123456789abcdef0123456789ABCDEF"
    SHA = "a" * 64

    def write(self, path, text):
        path.write_text(text)
        return path

    def test_find(self, tmp_path):
        path = self.write(
            tmp_path / "users", f"# ours\n\nalice:pbx:{self.MD5}\nalice:pbx:{self.SHA}\nbob:a:b:{self.MD5}\n"
        )
        accounts = HtdigestFile.load(path)
        assert self.MD5.lower() == accounts.find("alice", "pbx") == accounts.find("alice", "pbx", "md5-sess")
        assert self.SHA == accounts.find("alice", "pbx", "SHA-256")
        assert self.MD5.lower() == accounts.find("bob", "a:b", "MD5")
        assert accounts.find("bob", "a:b", "SHA-256") is None
        assert accounts.find("bob", "pbx", "MD5") is None
        assert accounts.find("alice", "pbx", "SHA-512") is None
        assert {("alice", "pbx"), ("bob", "a:b")} == accounts.users
        assert self.MD5 not in repr(accounts)

    @pytest.mark.parametrize(
        "line",
        [
            "alice",
            "alice:pbx",
            "alice:pbx:password",
            f":pbx:{MD5}",
            f"alice::{MD5}",
            "alice:pbx:" + "g" * 32,
            f"alice:pbx:{MD5}0",
        ],
    )
    def test_errors_name_file_and_line(self, tmp_path, line):
        """And never show what may be a password."""
        path = self.write(tmp_path / "users", f"# comment\n{line}\n")
        with pytest.raises(HtdigestError) as caught:
            HtdigestFile.load(path)
        assert str(caught.value).startswith(f"{path}:2: expected ")
        assert "password" not in str(caught.value)
        assert self.MD5 not in str(caught.value)

    def test_two_lines_for_one_account(self, tmp_path):
        path = self.write(tmp_path / "users", f"a:r:{self.MD5}\na:r:{'0' * 32}\n")
        with pytest.raises(HtdigestError, match=":2: expected one MD5 line"):
            HtdigestFile.load(path)

    def test_every_wrong_line_is_told(self, tmp_path):
        path = self.write(tmp_path / "users", f"a:r:{self.MD5}\nb\nc:r:12\na:r:{self.MD5}\nd:{self.MD5}\n")
        with pytest.raises(HtdigestError) as caught:
            HtdigestFile.load(path)
        assert [2, 3, 4, 5] == [line for line, _ in caught.value.wrong]
        assert f"{path}:2: expected user" in str(caught.value) and f"{path}:4: expected one MD5 line" in str(caught.value)
        assert str(caught.value).endswith("; and 1 more, which `sbc check` tells")

    def test_not_text(self, tmp_path):
        path = tmp_path / "users"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(HtdigestError, match="UTF-8"):
            HtdigestFile.load(path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            HtdigestFile.load(tmp_path / "nowhere")

    def test_whose_passwords_have_changed(self, tmp_path):
        """Of those that it has: added, or another one."""
        first = self.write(tmp_path / "1", f"alice:r:{'0' * 32}\nbob:r:{'0' * 32}\ncarol:r:{'0' * 32}\n")
        second = self.write(
            tmp_path / "2", f"alice:r:{'1' * 32}\nbob:r:{'0' * 32}\nbob:other:{'2' * 32}\ndave:r:{'3' * 32}\n"
        )
        before, after = HtdigestFile.load(first), HtdigestFile.load(second)
        assert {"alice", "bob", "dave"} == after.changed_since(before)
        assert frozenset() == after.changed_since(after)
        assert {"alice", "bob", "dave"} == after.changed_since(None)

    def test_reload(self, tmp_path):
        """Read again when it changed; a broken file leaves the accounts as they were."""
        path = self.write(tmp_path / "users", f"a:r:{self.MD5}\n")
        accounts = HtdigestFile.load(path)
        assert not accounts.reload_if_changed()
        self.write(path, f"b:r:{self.MD5}\n")
        os.utime(path, ns=(1, 1))
        assert accounts.reload_if_changed()
        assert {("b", "r")} == accounts.users
        self.write(path, "broken\n")
        os.utime(path, ns=(2, 2))
        with pytest.raises(HtdigestError):
            accounts.reload_if_changed()
        assert {("b", "r")} == accounts.users
