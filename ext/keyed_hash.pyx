"""BLAKE2b with a key (RFC 7693), for texts of a line or two: `KeyedHash`.

`hashlib` has it too, and takes three times as long for so little: there the key is worked in anew for each of them.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #define BLOCK 128  /* octets */

    static const uint64_t blake2b_start[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL
    };

    static const unsigned char blake2b_order[12][16] = {
        {  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15 },
        { 14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3 },
        { 11,  8, 12,  0,  5,  2, 15, 13, 10, 14,  3,  6,  7,  1,  9,  4 },
        {  7,  9,  3,  1, 13, 12, 11, 14,  2,  6,  5, 10,  4,  0, 15,  8 },
        {  9,  0,  5,  7,  2,  4, 10, 15, 14,  1, 11, 12,  6,  8,  3, 13 },
        {  2, 12,  6, 10,  0, 11,  8,  3,  4, 13,  7,  5, 15, 14,  1,  9 },
        { 12,  5,  1, 15, 14, 13,  4, 10,  0,  7,  6,  3,  9,  2,  8, 11 },
        { 13, 11,  7, 14, 12,  1,  3,  9,  5,  0, 15,  4,  8,  6,  2, 10 },
        {  6, 15, 14,  9, 11,  3,  0,  8, 12,  2, 13,  7,  1,  4, 10,  5 },
        { 10,  2,  8,  4,  7,  6,  1,  5, 15, 11,  9, 14,  3, 12, 13,  0 },
        {  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15 },
        { 14, 10,  4,  8,  9, 15, 13,  6,  1, 12,  0,  2, 11,  7,  5,  3 }
    };

    static inline uint64_t blake2b_word(const unsigned char *at)
    {
        return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24
            | (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
    }

    #define TURNED(word, bits) ((word) >> (bits) | (word) << (64 - (bits)))

    #define MIX(a, b, c, d, x, y) do { \\
        a += b + (x); d = TURNED(d ^ a, 32); c += d; b = TURNED(b ^ c, 24); \\
        a += b + (y); d = TURNED(d ^ a, 16); c += d; b = TURNED(b ^ c, 63); \\
    } while (0)

    #define ROUND(n) do { \\
        MIX(v0, v4,  v8, v12, m[blake2b_order[n][0]],  m[blake2b_order[n][1]]); \\
        MIX(v1, v5,  v9, v13, m[blake2b_order[n][2]],  m[blake2b_order[n][3]]); \\
        MIX(v2, v6, v10, v14, m[blake2b_order[n][4]],  m[blake2b_order[n][5]]); \\
        MIX(v3, v7, v11, v15, m[blake2b_order[n][6]],  m[blake2b_order[n][7]]); \\
        MIX(v0, v5, v10, v15, m[blake2b_order[n][8]],  m[blake2b_order[n][9]]); \\
        MIX(v1, v6, v11, v12, m[blake2b_order[n][10]], m[blake2b_order[n][11]]); \\
        MIX(v2, v7,  v8, v13, m[blake2b_order[n][12]], m[blake2b_order[n][13]]); \\
        MIX(v3, v4,  v9, v14, m[blake2b_order[n][14]], m[blake2b_order[n][15]]); \\
    } while (0)

    /* RFC 7693 3.2, function F: one block into the state `h`; `sofar` octets are in it with this one. */
    static void blake2b_block(uint64_t *h, const unsigned char *block, uint64_t sofar, int is_last)
    {
        uint64_t m[16];
        uint64_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
        uint64_t v8 = blake2b_start[0], v9 = blake2b_start[1], v10 = blake2b_start[2], v11 = blake2b_start[3];
        uint64_t v12 = blake2b_start[4] ^ sofar, v13 = blake2b_start[5];
        uint64_t v14 = is_last ? ~blake2b_start[6] : blake2b_start[6], v15 = blake2b_start[7];
        int i;
        for (i = 0; i < 16; i++)
            m[i] = blake2b_word(block + 8 * i);
        ROUND(0); ROUND(1); ROUND(2); ROUND(3); ROUND(4); ROUND(5);
        ROUND(6); ROUND(7); ROUND(8); ROUND(9); ROUND(10); ROUND(11);
        h[0] ^= v0 ^ v8; h[1] ^= v1 ^ v9; h[2] ^= v2 ^ v10; h[3] ^= v3 ^ v11;
        h[4] ^= v4 ^ v12; h[5] ^= v5 ^ v13; h[6] ^= v6 ^ v14; h[7] ^= v7 ^ v15;
    }
    """
    enum:
        BLOCK
    const uint64_t *blake2b_start
    uint64_t blake2b_word(const unsigned char *at) nogil
    void blake2b_block(uint64_t *h, const unsigned char *block, uint64_t sofar, bint is_last) nogil

cdef extern from "Python.h":
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)
    void *PyUnicode_DATA(str text)

cdef enum:
    LONGEST_DIGEST = 64
    LONGEST_KEY = 64
    LONGEST_PERSON = 16

cdef bytes _ALL_PAIRS = b"".join(b"%02x" % octet for octet in range(256))
cdef const char *_PAIRS = PyBytes_AS_STRING(_ALL_PAIRS)


@cython.final
cdef class KeyedHash:
    """Keyed once: `hexadecimal(data)` is `hashlib.blake2b(data, key=key, digest_size=size, person=person).hexdigest()`."""

    def __cinit__(self, bytes key, int size, bytes person):
        cdef unsigned char block[BLOCK]
        cdef int place
        if not 0 < len(key) <= LONGEST_KEY or not 0 < size <= LONGEST_DIGEST or len(person) > LONGEST_PERSON:
            raise ValueError("no key, digest size or person of BLAKE2b")
        self._size = size
        # RFC 7693 2.5 and 2.8: the parameters, and the key as a block before all others.
        for place in range(8):
            self._state[place] = blake2b_start[place]
        self._state[0] ^= 0x01010000 ^ (<uint64_t>len(key) << 8) ^ <uint64_t>size
        memset(block, 0, BLOCK)
        memcpy(block, PyBytes_AS_STRING(person), len(person))
        self._state[6] ^= blake2b_word(block)
        self._state[7] ^= blake2b_word(block + 8)
        memset(block, 0, BLOCK)
        memcpy(block, PyBytes_AS_STRING(key), len(key))
        blake2b_block(self._state, block, BLOCK, False)

    cpdef str hexadecimal(self, bytes data):
        """`data` has one octet at least."""
        cdef uint64_t state[8]
        cdef unsigned char block[BLOCK]
        cdef const unsigned char *octets = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t left = PyBytes_GET_SIZE(data)
        cdef uint64_t sofar = BLOCK
        if left == 0:
            raise ValueError("nothing to hash")
        memcpy(state, self._state, sizeof(state))
        while left > BLOCK:
            sofar += BLOCK
            blake2b_block(state, octets, sofar, False)
            octets += BLOCK
            left -= BLOCK
        memset(block, 0, BLOCK)
        memcpy(block, octets, left)
        blake2b_block(state, block, sofar + <uint64_t>left, True)
        return _written(state, self._size)


cdef str _written(const uint64_t *state, int size):
    """The first octets of it in hexadecimal."""
    cdef str text = PyUnicode_New(2 * size, 0x7F)
    cdef char *target = <char *>PyUnicode_DATA(text)
    cdef int place
    cdef unsigned int octet
    for place in range(size):
        octet = (state[place // 8] >> (8 * (place % 8))) & 0xFF
        memcpy(target + 2 * place, _PAIRS + 2 * octet, 2)
    return text
