# What compiled modules may use of archive.py without going through Python. The words are in archive.py.

from sbc.clock cimport Timer, TimerQueue
from sbc.registration.bindings cimport Binding
from sbc.sip.writer cimport Writer


cdef class Archive(Timer):
    cdef TimerQueue _queue
    cdef object _wall_clock
    cdef object _store
    cdef object _everything
    cdef dict _behind
    cdef dict _unsaved
    cdef list _heard_of
    cdef dict _removals
    cdef set _fewer
    cdef bint _notes_are_old
    cdef bint _saving

    cdef object keep(self, Binding binding)
    cdef object keep_later(self, Binding binding)
    cdef object keep_without(self, Binding binding)
    cdef object forget(self, str token, list removals)
    cdef object forget_later(self, str token)
    cdef object _come_back(self, double delay)
    cdef object _note(self, Writer writer)
    cdef object _note_what_waits(self)
    cdef object _save_some(self)
    cdef object _save_all(self)
