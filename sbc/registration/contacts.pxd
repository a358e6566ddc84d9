# What compiled modules may use of contacts.py without going through Python. The words are in contacts.py.

from sbc.sip.message cimport Message, Request, Response
from sbc.sip.writer cimport Writer


cdef class Contact:
    cdef readonly str token
    cdef readonly str text
    cdef readonly long long expires
    cdef readonly str parameters
    cdef bint _is_plain
    cdef bint _names_its_time
    cdef bytes _before_time
    cdef bytes _after_time

    cdef Contact asking(self, long long default_expires)
    cdef object write_behind_user(self, Writer writer, str our_host_port, long long expires)
    cdef object write_line(self, Writer writer, long long seconds, str gruu)
    cdef object _write_with_time(self, Writer writer, long long seconds)


cdef class TokenMaker:
    cdef object _keyed

    cpdef str token(self, str aor, str contact_uri, str instance)


cpdef Contact read_contact(str text, str aor, TokenMaker tokens, long long default_expires=*)
cdef str only_contact(Message message)
cdef long long time_asked(Message message)
cdef Contact first_to_register(list contacts)
cdef str agent_of(Request request)
cpdef tuple address_of_record(Request request)
cpdef long long granted(Response response, str token, long long asked)
