"""RFC 3261 sections 7, 19, 20 and 25: the words of SIP.

`message` (requests and responses over the received bytes, compiled) on top of `scanner` (the grammar, compiled),
`headers`, `names`, `uri`, `digest` (RFC 7616, 8760), `framing` (messages out of a TCP or TLS stream), `status`,
`errors`, `limits`. Knows nothing of sockets, transactions or policy.
"""
