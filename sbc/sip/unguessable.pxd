# What compiled modules may call in unguessable.py without going through Python. The words are in unguessable.py.


cpdef str hex_word(Py_ssize_t digits)
