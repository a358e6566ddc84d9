"""sbc: a SIP redundancy proxy and local survivability gateway. This page is the map.

`config`         the TOML file, checked: every error at once, with file, line and key
`sip`            the words of RFC 3261: messages, headers, URIs, digest, stream framing. Knows nothing else
`transaction`    RFC 3261 section 17: four state machines as tables, and the layer that finds the right one
`location`       RFC 3263: names to candidates (address, port, transport), from a cache that never makes a call wait
`redundancy`     the vendors' bulletins: which server now, for how long, who is down, when to go back. Pure decisions
`registration`   REGISTER as a back-to-back function: one phone, many registrars
`proxy`          RFC 3261 section 16: where a request goes, and everything that can become of it on the way
`survival`       the site on its own (to come)
`transport`      sockets
`store`          what outlives the process
`observe`        metrics, log, status page, systemd
`lab`            call servers and phones to play with: `sbc demo`, and the tests
`workers`        several processes that are one appliance
`app`            builds and connects all of it, `together` several of it; `cli` the commands, of which `preflight` and
                 `resolve` do without an appliance: what is out there, and how it is found
`control`        what a command asks of the running appliance, over a socket in its state folder
`clock`          time for all of them; `events` what happened, `flow` the way to a peer, `nonces` who has challenged whom

The path of one INVITE from a phone to a dead primary and on to the fallback:

1. `transport.udp` receives the datagram, `sip.message.parse` finds the offsets of its parts, `proxy.edge` counts it.
2. `transaction.layer` finds no transaction for it and makes a server transaction; repetitions end there from now on.
3. `proxy.core` validates it and asks `proxy.destination` where it goes: to the servers of the group for its domain.
4. `redundancy.group` makes an `AttemptPlan`; `proxy.response_context` answers 100 and asks the plan for the first attempt.
5. A client transaction sends it to the primary, four times in 7.5 seconds. Nothing comes: the context records `TimedOut`.
6. The group's health puts the primary down and wakes all others that wait for it; the plan names the fallback.
7. The fallback's 180 and 200 come back through the client transaction and the context to the server transaction.
8. Its Record-Route carries a cookie that names the fallback and the phone's address, so the ACK and the BYE need no memory.
"""

import os

from sbc._hot import find_compiled_modules

__version__ = "0.1.0"

find_compiled_modules(pure=os.environ.get("SBC_PURE_PYTHON") == "1")
