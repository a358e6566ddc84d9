"""Call servers and phones to play with, on the same SIP code as the appliance: for `sbc demo` and for the tests.

endpoint.py       one UDP socket with a transaction layer on it
dialog.py         a call's memory: tags, sequence numbers, route set (RFC 3261 section 12)
phone.py          a desk phone: registers with digest, calls, rings, answers, hangs up, and takes the times
accounts.py       what a call server knows: users and passwords, nonces, and where each user is
server.py         a call server: registrar and Record-Routing proxy; `python -m sbc.lab.server` runs one by itself
child.py          a process that is waited for, stopped, resumed and killed
demo.py           the story that `sbc demo` tells
"""
