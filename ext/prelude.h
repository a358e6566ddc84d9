/* Included into every compiled module, before what Cython has written. */

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>
#include <string.h>

/* Where an exception passes is the rare path: gcc then puts it apart from the usual one, which stays shorter. */
__attribute__((cold)) static void __Pyx_AddTraceback(const char *, int, int, const char *);
__attribute__((cold)) static void __Pyx_WriteUnraisable(const char *, int, int, const char *, int, int);

/* Cython 3.3 has PyUnicode_Compare compare two texts, also when it is only asked whether they are equal, as names of servers
   and states are all the time. For ASCII texts it is said here at once. */

static inline int compared_texts(PyObject *one, PyObject *other)
{
    if (PyUnicode_IS_COMPACT_ASCII(one) && PyUnicode_IS_COMPACT_ASCII(other)) {
        Py_ssize_t more = PyUnicode_GET_LENGTH(one) - PyUnicode_GET_LENGTH(other);
        int order = memcmp(PyUnicode_DATA(one), PyUnicode_DATA(other), PyUnicode_GET_LENGTH(more < 0 ? one : other));
        return order < 0 ? -1 : order > 0 ? 1 : more < 0 ? -1 : more > 0;
    }
    return PyUnicode_Compare(one, other);
}

#define PyUnicode_Compare(one, other) compared_texts(one, other)
