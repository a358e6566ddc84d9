"""The status page in a real browser: what the document says after its script has run."""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.peers import Peers, Sbc, wait_until
from tests.e2e.test_dashboard import http_address
from tests.observe import samples

CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
TIME_FOR_THE_PAGE = 3000
"""Milliseconds of the browser's own clock, enough for the first refresh."""


class Page:
    """A loaded page, as text in the order of the document."""

    def __init__(self, url: str, folder: Path) -> None:
        browser = shutil.which("chromium")
        assert browser, "chromium is not installed (Debian: apt install chromium)"
        done = subprocess.run(
            [browser, *CHROMIUM, f"--user-data-dir={folder}", f"--virtual-time-budget={TIME_FOR_THE_PAGE}",
             "--dump-dom", url],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.dom = re.sub(r"<(script|style)>.*?</\1>", "", done.stdout, flags=re.DOTALL)
        self.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def text(self, element: str = "body") -> str:
        """The words from the first element that matches `tag` or `#id` up to an end tag of its kind."""
        opening = rf'<(\w+)[^>]* id="{element[1:]}"[^>]*>' if element.startswith("#") else rf"<({element})(?: [^>]*)?>"
        # Elements that hold others of their kind reach as far as the next section does.
        until = r"(?=<section id=)" if element == "#groups" else r"</\1>"
        found = re.search(opening + "(.*?)" + until, self.dom, re.DOTALL)
        assert found, f"no {element} in {self.dom}"
        return _words(found[2])

    def rows(self) -> list[str]:
        """The rows of all tables, as words."""
        return [_words(row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", self.dom, re.DOTALL)]

    @property
    def title(self) -> str:
        return self.text("title")


def _words(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


@pytest.fixture
def page_of(tmp_path: Path):
    """Loads the status page of an appliance, each time with a browser that knows nothing."""
    loaded = 0

    def load(sbc: Sbc) -> Page:
        nonlocal loaded
        loaded += 1
        page = Page(f"http://{http_address(sbc)}/", tmp_path / f"chromium{loaded}")
        assert page.console == []
        return page

    return load


def shown(status: dict[str, Any], folder: Path) -> Page:
    """The page for this status. Served without the policy, which would hide a mistake."""
    page = (resources.files("sbc.observe") / "status_page.html").read_bytes()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(status).encode() if self.path == "/status.json" else page)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        loaded = Page(f"http://127.0.0.1:{server.server_port}/", folder / "chromium")
        server.shutdown()
        thread.join()
    return loaded


def test_the_page_tells_the_story(peers: Peers, page_of) -> None:
    """All well; then on the fallback, with the reason; then no server at all."""
    primary = peers.kamailio("primary", challenge_calls=False)
    fallback = peers.kamailio("fallback", challenge_calls=False)
    sbc = peers.sbc([primary, fallback], accounts=("bob",))
    peers.sipp_phone("bob", sbc.proxy()).register()
    wait_until(lambda: fallback.contacts("bob"), "bob is registered at both")
    wait_until(lambda: sbc.metric("sbc_redundancy_ready") == 1, "both servers are up")

    page = page_of(sbc)
    assert page.title == "✔ end-to-end: Everything works."
    assert "Calls use primary; another server stands by." in page.text("#verdict")
    [first, second] = [row for row in page.rows() if row.startswith(("primary", "fallback"))]
    assert re.match(rf"primary P1:1 127\.0\.0\.1:{primary.port} udp up\* in use", first)
    assert re.match(rf"fallback P2:1 127\.0\.0\.1:{fallback.port} udp up ", second)
    assert any(
        row.startswith("bob@testdomain.local") and "primary: registered" in row and "fallback: registered" in row
        for row in page.rows()
    )

    primary.kill()
    wait_until(lambda: sbc.working_server() == "fallback", "the fallback is the working server")
    page = page_of(sbc)
    assert page.title == "! end-to-end: Calls work, but something needs attention."
    assert "Calls use fallback, because primary does not answer." in page.text("#verdict")
    assert re.search(r"New calls go to fallback \(127\.0\.0\.1:\d+\) since .+, because primary .+ failed", page.text())
    [first] = [row for row in page.rows() if row.startswith("primary")]
    assert " udp down " in first
    assert "failover from primary" in page.text("ol")

    fallback.kill()
    wait_until(lambda: sbc.metric("sbc_server_up") == 0, "no server is up")
    page = page_of(sbc)
    assert page.title == "✖ end-to-end: Calls are failing or will fail."
    assert "No server answers: primary, fallback." in page.text("#verdict")


def test_strange_names_are_shown_and_not_run(tmp_path: Path) -> None:
    """What phones and servers call themselves stays text."""
    markup = "<img src=x onerror=alert(1)>"
    status = copy.deepcopy(samples.ON_THE_FALLBACK)
    status["appliance"]["name"] = status["groups"][0]["name"] = status["groups"][0]["working_because"] = markup
    for row in status["groups"][0]["servers"]:
        row["name"] = row["candidates"][0]["reason"] = markup
    for row in status["registrations"]["phones"]:
        row["aor"] = row["source"] = row["servers"][0]["server"] = row["servers"][0]["reason"] = markup
    status["events"] = [{"at": samples.WALL_NOW, "level": "warning", "text": markup}]
    loaded = shown(status, tmp_path)
    assert "<img" not in loaded.dom
    assert loaded.text("#name") == markup
    assert markup in loaded.text("#groups")
    assert markup in loaded.text("#phones-table")
    assert markup in loaded.text("#events")


def test_the_rows_say_why_a_phone_is_not_everywhere(tmp_path: Path) -> None:
    """By which method it gets in, what was refused and when it is tried again, what was learned of it, who is left alone; and how
    far a server is that gets its phones again."""
    status = copy.deepcopy(samples.ON_THE_FALLBACK)
    learned, refused, nowhere = status["registrations"]["phones"]
    learned |= {"method": "first-only", "method_reason": "alternating: the phone did not answer the challenge of fallback"}
    learned["servers"][0]["method"] = "first-only"
    refused["servers"][0] |= {"retry_in": 240, "failures": 3, "method": "alternating"}
    nowhere["quarantined_for"] = 55
    status["registrations"]["resyncs"] = [samples.resync("third", left=41, left_to_phones=7)]
    page = shown(status, tmp_path)
    [learned_row, refused_row, nowhere_row] = [row for row in page.rows() if row.startswith(("2001", "2002", "2003"))]
    assert "primary: registered fallback: registered first-only: alternating: the phone did not answer" in learned_row
    assert 'title="first-only"' in page.dom
    assert "primary: failed 403 Forbidden, next try in 4 min fallback: registered" in refused_row
    assert "primary: unregistered fallback: unregistered left alone" in nowhere_row
    assert 'title="it registers in a loop; for 55 s"' in page.dom
    assert (
        "resync office: third is back and gets its registrations again: 120 done, 41 phones to go (7 of them with a REGISTER of"
        " their own); at most 12.5 REGISTERs a second, at least 30 s more"
    ) in page.text("#resyncs")


def test_lost_contact_is_said(peers: Peers, tmp_path: Path) -> None:
    """A page that cannot reach the appliance must not look as if all were well."""
    fallback = peers.kamailio("fallback")
    sbc = peers.sbc([fallback])
    text = sbc.get("/")
    copy = tmp_path / "copy.html"
    copy.write_text(text)
    page = Page(copy.as_uri(), tmp_path / "chromium")
    assert "No contact." in page.text("#contact")
