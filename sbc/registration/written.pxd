# What compiled modules may use of written.py without going through Python. The words are in written.py.

cimport cython

from sbc.registration.leg cimport Leg
from sbc.sip.message cimport Request, Response
from sbc.sip.writer cimport Writer


@cython.final
@cython.freelist(16)
cdef class Template:
    cdef list contacts
    cdef bytes _common
    cdef Py_ssize_t _start_line
    cdef Py_ssize_t _kept
    cdef Py_ssize_t _behind_tag
    cdef Py_ssize_t _call_id
    cdef Py_ssize_t _contact
    cdef bytes _body
    cdef bint _has_length
    cdef str _token
    cdef bint asks_for_gruu

    cdef object _write_extensions(self, Writer writer, Leg leg)
    cdef object begin(self, Request request, list contacts, str user, str token)
    cdef bytes register_at(self, Leg leg, str branch, str boot, long long cseq, list credentials)


cdef Template new_template(Request request, list contacts, str user, str token)
cdef object take_over(Response answer, Response response, bint showed_credentials)
