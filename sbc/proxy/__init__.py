"""RFC 3261 section 16: the proxy.

`core` receives every new request and decides what it is; `validation` refuses what must not be forwarded, `unserved` tells who
asked for a domain that nobody serves; `network` asks the
sockets for ways and addresses; `sides` tells servers from phones; `destination` says where a request goes; `routes` are the
two ways there, and `pins` which server has challenged the request; `response_context` carries one forwarded request from candidate to candidate until it has an answer; `late`
deals with answers that come after their branch was given up; `own_routes` writes our Record-Route and knows it again, and
`route_cookie` puts into it what an in-dialog request needs to find its way, so that no dialog is kept in memory; `prober`
asks servers how they are.
"""
