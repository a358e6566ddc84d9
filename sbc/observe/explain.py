"""`sbc explain`: in plain words, what the appliance knows of one address-of-record, and why it does with it what it does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO
from urllib.parse import quote

from sbc.observe.status import Configuration, asked, clock_time, how_far, in_words, wrong_passwords
from sbc.observe.story import printable

_METHODS = {
    "own credentials": "the appliance answers its challenges from the password file",
    "trusted": "it believes the appliance, and wants no password",
    "open": "it has not asked for a password",
    "alternating": "the phone answers one server at each refresh (alternating)",
    "serial": "the phone answers one server after the other at each refresh (serial)",
    "aggregate": "the phone answers all servers at once (aggregate)",
    "first-only": "the phone answers one server only (first-only)",
}


def print_explanation(
    config: Configuration, aor: str, *, as_json: bool = False, out: TextIO | None = None, errors: TextIO | None = None
) -> int:
    """Exit status: 0, or 1 when the appliance does not run or knows nothing of that address-of-record."""
    out = out or sys.stdout
    errors = errors or sys.stderr
    explanation = asked(config, f"/explain.json?aor={quote(aor, safe='', errors='surrogateescape')}", errors)
    if explanation is None:
        return 1
    if as_json:
        json.dump(explanation, out, indent=2)
        out.write("\n")
    elif explanation["known"]:
        out.write(render(explanation, time.time()))
    if not explanation["known"]:
        print("\n".join(map(printable, _unknown(explanation))), file=errors)
        return 1
    return 0


def render(explanation: Mapping[str, Any], wall_now: float) -> str:
    """All of it as text for a terminal, ending in a newline."""
    lines = [explanation["aor"]]
    for group in explanation["groups"]:
        lines += _group_lines(group)
    if not explanation["contacts"]:
        lines.append("  No server has accepted it: it is registered nowhere, and calls for it end here.")
    for contact in explanation["contacts"]:
        lines += ["", *_contact_lines(contact)]
    said = [
        *[
            f"{each['contact']} has shown {each['server']} {wrong_passwords(each)} within the last hour, from"
            f" {each['host']}"
            for each in explanation["rejected"]
        ],
        *[
            f"{each['contact']} at {each['host']} is left alone for {in_words(each['for'])} more: {each['reason']}"
            for each in explanation["quarantine"]
        ],
        *[
            f"{each['contact']} was removed by the phone; {each['server']} has yet to hear of it, or drops it by itself in"
            f" {in_words(each['for'])}"
            for each in explanation["removals"]
        ],
    ]
    if said:
        lines += ["", *said]
    if explanation["events"]:
        lines += ["", "Last events about it, newest first:"]
        lines += [f"  {clock_time(event['at'], wall_now)}  {event['text']}" for event in explanation["events"]]
    return "\n".join(map(printable, lines)) + "\n"


def _group_lines(group: Mapping[str, Any]) -> list[str]:
    lines = [f"  Group {group['name']} (profile {group['profile']}, {group['registration']} registration)"]
    because = f": {group['working_because']}" if group.get("working_because") else ""
    if group["working"] is None:
        lines.append("  No server works: nothing is known of any of them")
    else:
        lines.append(f"  New requests of the group go to {group['working_server']} ({group['working']}){because}")
    return lines


def _contact_lines(contact: Mapping[str, Any]) -> list[str]:
    lines = [f"{contact['contact']} at {contact['source']}"]
    kind = f", a {contact['phone_type']}" if contact["phone_type"] else ""
    account = f"its account is {contact['username']}" if contact["username"] else "it has shown no password so far"
    lines.append(f"  profile {contact['profile']}{kind}; {account}")
    again = f"expected again within {in_words(max(0, contact['expires_in']))}"
    if contact.get("overdue_for"):
        again = f"EXPECTED again {in_words(contact['overdue_for'])} ago, and it did not come; calls reach it while a server has it"
    lines.append(f"  registered here for {in_words(contact['granted'])}, and {again}")
    if contact["quarantined_for"]:
        lines.append(f"  LEFT ALONE for {in_words(contact['quarantined_for'])}: it registers in a loop, and gets 500 from here")
        lines.append("    look at its account and password in the phone")
    if contact["quiet_for"]:
        lines.append(f"  a refresh that changes nothing is answered here for {in_words(contact['quiet_for'])}")
    if contact["method_learned"]:
        lines.append(f"  learned: it gets its challenges by the method {contact['method']}, because {contact['method_reason']}")
    lines += [f"  {line}" for entry in contact["servers"] for line in _server_lines(entry)]
    lines += [f"  {name}: has not been told of it yet" for name in contact["not_told"]]
    if contact["new_requests_go_to"]:
        lines.append(f"  its next call goes to {contact['new_requests_go_to']}, which is in use for phones of its kind")
    else:
        lines.append("  its next call goes to no server: none is known to be there")
    lines += [f"  {line}" for resync in contact["resyncs"] for line in _resync_lines(resync)]
    step = contact["next_of_ours"]
    if step is not None:
        what = "removes it from" if step["removal"] else "registers it at"
        lines.append(f"  next, the appliance {what} {step['server']} by itself, {_soon(step['in'])}")
    elif not contact["resyncs"] and any(entry["state"] != "registered" for entry in contact["servers"]):
        lines.append("  the appliance can do nothing more by itself: the phone's next REGISTER decides, at once if it is restarted")
    return lines


def _resync_lines(resync: Mapping[str, Any]) -> list[str]:
    """A server that gets its phones again one by one, and this one is not registered there yet."""
    name = resync["server"]
    lines = [f"waits for its turn at {name}, which gets its phones again: {how_far(resync)}"]
    if resync["under_way"]:
        lines = [f"has its turn at {name}, which gets its phones again: its REGISTER is on its way there"]
    if resync["by_phone"]:
        lines.append("  only the phone knows the password: its first refresh after its turn has come is passed on")
    return lines


def _server_lines(entry: Mapping[str, Any]) -> list[str]:
    name, reason = entry["server"], f": {entry['reason']}" if entry["reason"] else ""
    if entry["state"] == "registered":
        at = f" ({entry['candidate']})" if entry["candidate"] else ""
        due = "with its next refresh" if not entry["due_in"] else f"with a refresh in {in_words(entry['due_in'])} or later"
        how = _METHODS.get(entry["method"], entry["method"])
        lines = [
            f"{name}{at}: registered for {in_words(entry['expires_in'])} more{reason}; {how}",
            f"  it hears of the phone again {due}",
        ]
    elif entry["state"] == "failed":
        times = "once" if entry["failures"] <= 1 else f"{entry['failures']} times in a row"
        lines = [
            f"{name}: REFUSED {times}{reason}; it may be tried again {_soon(entry['retry_in'] or 0)}",
            "  mend its account or password there, then restart the phone, or mend [credentials] and reload: it is tried at once",
        ]
    else:
        lines = [f"{name}: {entry['state']}{reason}"]
        if entry["retry_in"]:
            lines.append(f"  it is not asked for {in_words(entry['retry_in'])}")
    return lines


def _soon(seconds: float) -> str:
    return f"in {in_words(seconds)}" if seconds >= 1 else "now"


def _unknown(explanation: Mapping[str, Any]) -> list[str]:
    domains = sorted({domain for group in explanation["groups"] for domain in group["domains"] if domain != "*"})
    expected = f"sip:NUMBER@{domains[0]}" if domains else "sip:NUMBER@DOMAIN, with the domain of the phone's account"
    lines = [f"sbc: nothing is known of {explanation['aor']}; expected is the To of the phone's REGISTER: {expected}"]
    if explanation["similar"]:
        lines.append(f"sbc: known are {', '.join(explanation['similar'])}")
    return lines
