# What compiled modules may use of own_routes.py without going through Python. The words are in own_routes.py.

cimport cython

from sbc.flow cimport Flow
from sbc.location.candidate cimport Candidate
from sbc.proxy.network cimport Network, PhoneAddress
from sbc.proxy.route_cookie cimport RouteCookie
from sbc.sip.lines cimport OwnLine
from sbc.sip.message cimport Request
from sbc.sip.remembered cimport Remembered


@cython.final
cdef class ReadRoute:
    cdef readonly bint ours
    cdef readonly bint has_cookie
    cdef readonly RouteCookie cookie
    cdef readonly str token
    cdef object _uri
    cdef long _epoch


@cython.final
cdef class _Written:
    cdef Candidate candidate
    cdef PhoneAddress phone
    cdef Flow inner
    cdef Flow outer
    cdef list lines


cdef class OwnRoutes:
    cdef bytes _key
    cdef Network _network
    cdef Remembered _read
    cdef dict _written
    cdef long _epoch

    cdef ReadRoute read(self, bytes value)
    cdef ReadRoute top_of(self, Request request)
    cdef ReadRoute _read_now(self, bytes value)
    cdef ReadRoute _of_today(self, ReadRoute known)
    cdef OwnLine _line(self, Flow flow, RouteCookie cookie)
    cdef ReadRoute _remember(self, bytes value, object uri, RouteCookie cookie)
    cdef RouteCookie cookie_in(self, object uri)
    cdef object put_on(self, Request request, Candidate candidate, PhoneAddress phone, Flow inner, Flow outer)
    cdef object _put_lines_on(self, Request request, Candidate candidate, PhoneAddress phone, Flow inner, Flow outer)
    cdef list _lines(self, Candidate candidate, PhoneAddress phone, Flow inner, Flow outer)
