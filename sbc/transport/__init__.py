"""RFC 3261 section 18: sockets, and the addresses that responses go back to.

`reactor` is Twisted's, with a short cut (`turning`) for busy sockets and our timers. `udp` and `tcp` are the socket of one
`[[listen]]`, `dialled` the connections that we make, `streams` what all connections share, `tls` whom we believe and who we
are, `causes` why a connection failed. `listeners` holds them all and finds the one to use towards a server or a phone. What
arrives is parsed here and handed to the transaction layer; what is not SIP ends here, counted.
"""
