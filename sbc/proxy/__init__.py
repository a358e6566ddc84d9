"""RFC 3261 section 16: the proxy.

`core` receives every new request and decides what it is; `validation` refuses what must not be forwarded; `sides` tells
servers from phones; `response_context` carries one forwarded request from candidate to candidate until it has an answer;
`late` deals with answers that come after their branch was given up; `route_cookie` puts into Record-Route what an in-dialog
request needs to find its way, so that no dialog is kept in memory; `prober` asks servers how they are.
"""
