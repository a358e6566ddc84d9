# What compiled modules may use of messages without going through Python. The words are in message.py, ext/hop.pyx, ext/head.pyx
# and ext/lines.pyx.
#
# Headers are asked for by bits (VIA, ROUTE | RECORD_ROUTE ...) and methods by small numbers (INVITE, ACK ... OTHER), both in
# scanner.pxd; schemes of a Request-URI (SIP_SCHEME ...) in head.pxd. All of this also works uncompiled.
#
# Parts that `parse` has read; no object is made unless the name says which one:
#   method, method_code, scheme           of a request: interned str, number, number
#   _status                               of a response
#   branch_text(), branch_bytes()         of the top Via; "" or b"" without one
#   call_id_text(), call_id_bytes(), from_tag_text(), from_tag_bytes(), to_tag_text(), to_tag_bytes(), has_to_tag()
#   cseq_number(), cseq_code(), cseq_method_text()
#   hops_left()                           Max-Forwards, -1 without it
#   request_uri_text(), request_uri_bytes(), reason_text()
#   transaction_key(method)               bytes that find a server transaction; None for a branch of RFC 2543
#   way_hash()                            keyed hash over what decides a request's way (loop detection)
#   read_via(), then via and via_octets   struct of offsets (scanner.pxd), compiled only
# Objects, made when asked for and kept: read_uri() -> SipUri, read_from(), read_to() -> NameAddr, read_top_via() -> Via
# Any header that has a bit:
#   may_have(bits)                        False when none of these headers is there
#   has_one(bit)                          a comma list of exactly one element
#   first_of(bit), first_bytes(bit)       first element of a comma list (top Route); None without one
#   value_of(bit), value_bytes(bit)       the whole value of the first line; None without one
#   number_of(bit, limit)                 a number, -1 without that header
# Edits:
#   copy()                                cheap: one memcpy of the offsets
#   put_via(via_start, branch)            our Via on top; via_start is Flow.via_start
#   allow_hops(n)                         Max-Forwards
#   put_first(own_line)                   above the first line of that header, or below the Vias
#   append_line(own_line)                 own_line = new_line("Name", "value"), made once and shared by messages
#   drop_first(bit), drop_all(bits)       first value of a comma list; all lines of these headers
#   set_request_uri(text)
#   note_source(host, port)               received and rport
# Writing: to_bytes(stream)               one pass into one bytes object
# Responses of ours for the wire: trying_to(request), ok_to(request, to_tag, rest)

from sbc.sip.headers cimport NameAddr, Via
from sbc.sip.hop cimport Hop
from sbc.sip.uri cimport SipUri


cdef class Message(Hop):
    cpdef NameAddr read_from(self)
    cpdef NameAddr read_to(self)
    cpdef Via read_top_via(self)
    cpdef object get(self, str name)
    cpdef list get_all(self, str name)
    cpdef object set(self, str name, str value)
    cpdef object prepend(self, str name, str value)
    cpdef object append(self, str name, str value)
    cpdef object remove(self, str name)


cdef class Request(Message):
    cpdef Request copy(self)
    cpdef SipUri read_uri(self)


cdef class Response(Message):
    cpdef Response copy(self)


cpdef Message parse(bytes data)
cpdef bytes trying_to(Request request)
cpdef bytes ok_to(Request request, str to_tag, bytes rest)
