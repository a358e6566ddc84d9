"""The README says what the program says: whoever has a line of `sbc status` or `sbc explain` before him finds it there."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest

from sbc.events import DomainNotServed
from sbc.observe import explain, status
from sbc.observe.story import tell
from sbc.registration.own_digest import WRONG_IN_PHONE, wrong_line
from sbc.registration.resyncs import AS_COMMANDED, MAYBE_LOST
from sbc.registration.served import ONLY_THE_PHONE
from sbc.sip.message import Response
from tests.helpers.network import request
from tests.observe import samples
from tests.observe.test_explain import FOUND

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

CHALLENGE = ("WWW-Authenticate", 'Digest realm="example.com", nonce="1"')


def first_column() -> list[str]:
    """The phrases in the table of what to do."""
    _, _, table = README.partition("| it says | because | what to do |\n| --- | --- | --- |\n")
    rows = table.partition("\n\n")[0].splitlines()
    assert len(rows) >= 9
    return [phrase for row in rows for phrase in re.findall(r"`([^`]+)`", row.split("|")[1])]


def refused(reason: str, failures: int = 1) -> dict:
    return {
        "server": "fallback", "state": "failed", "expires_in": None, "reason": reason, "method": "alternating",
        "candidate": None, "due_in": None, "failures": failures, "retry_in": 240,
    }  # fmt: skip


def all_that_is_said() -> str:
    """By `sbc explain` and `sbc status`, of phones in each of these situations."""
    said = []
    response = Response.for_request(request("REGISTER"), 401, headers=[CHALLENGE])
    entries = [refused(reason) for reason in (WRONG_IN_PHONE, wrong_line(response, "2001"), "403 Forbidden", "404 Not Found")]
    entries += [refused(reason) | {"state": "unregistered"} for reason in (ONLY_THE_PHONE, MAYBE_LOST, AS_COMMANDED)]
    for entry in entries:
        found = copy.deepcopy(FOUND)
        (contact,) = found["contacts"]
        waits = samples.resync("third", left=41) | {"by_phone": True, "under_way": False}
        contact |= {"servers": [entry], "quarantined_for": 250, "resyncs": [waits]}
        said.append(explain.render(found, samples.WALL_NOW))
        shown = copy.deepcopy(samples.ALL_WELL)
        shown["registrations"]["phones"] = [contact | {"aor": "sip:2001@example.com"}]
        shown["registrations"]["rejected"] = [{"aor": "sip:2001@example.com", **each} for each in found["rejected"]]
        said.append(status.render(shown, samples.WALL_NOW))
    story = tell(DomainNotServed("REGISTER", "example.org", "192.0.2.7"))
    assert story is not None
    return "\n".join([*said, story.text])


@pytest.mark.parametrize("phrase", first_column())
def test_the_table_of_what_to_do_has_the_words_that_are_said(phrase: str) -> None:
    if phrase.startswith("403 Password"):  # the answer to the phone
        assert f'"{phrase.removeprefix("403 ")},' in (ROOT / "sbc/registration/exchange.py").read_text("utf-8")
    elif phrase.startswith("503 "):  # that, too
        assert f'"{phrase.removeprefix("503 ")}"' in (ROOT / "sbc/registration/registrar.py").read_text("utf-8")
    else:
        assert phrase in all_that_is_said()


@pytest.mark.parametrize("command", ["run", "check", "status", "explain", "failback", "resync", "resolve"])
def test_every_command_is_in_the_readme(command: str) -> None:
    assert re.search(rf"^\| `sbc {command}\b", README, re.MULTILINE)
