"""A program for the kernel: which of the sockets that share a port gets a datagram (SO_ATTACH_REUSEPORT_CBPF, socket(7)).

By itself the kernel chooses by the addresses and ports of both ends. That is right for requests: a phone, or a server, stays
with one worker. A response belongs to the worker that sent the request, wherever it comes from. So the program looks for our
branch in it, whose top Via is the first (RFC 3261 18.1.2), and reads the worker's letter there (`marks`).

It is a classic BPF program, which every user may attach and the kernel translates into machine code: some hundred
nanoseconds for each response. It has no loops; what it does at each place is written out. Where it finds nothing, or a
kernel does not take it, the kernel's own choice holds, and workers hand responses over to each other.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from sbc.proxy.validation import BOOT_PLACE, MAGIC_COOKIE

# <linux/filter.h>, <linux/bpf_common.h>, <asm-generic/socket.h>
_SO_ATTACH_REUSEPORT_CBPF = 51
_LOAD_WORD = 0x20
_LOAD_BYTE_AT_INDEX = 0x50
_SET_INDEX = 0x01
_JUMP = 0x05
_IF_EQUAL = 0x15
_IF_NOT_LESS = 0x35
_SUBTRACT = 0x14
_RETURN = 0x06
_RETURN_ACCUMULATOR = 0x16
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")

_KERNELS_CHOICE = 0xFFFFFFFF
"""No socket has this number; then the addresses decide."""

_FIRST = len("SIP/2.0 200 \r\nv:SIP/2.0/UDP a;branch=")
_LAST = 600
"""Where the branch of the top Via may begin: behind the shortest imaginable status line and Via, and behind long ones."""


def steering_program() -> list[bytes]:
    """The instructions. What lies beyond the end of a datagram ends the program with socket 0."""
    probe = int.from_bytes(MAGIC_COOKIE[:4].encode("ascii"), "big")
    response = int.from_bytes(b"SIP/", "big")
    program = [
        _instruction(_LOAD_WORD, 0),
        _instruction(_IF_EQUAL, response, yes=1),
        _instruction(_RETURN, _KERNELS_CHOICE),
    ]
    places = range(_FIRST, _LAST)
    for place in places:
        left = 4 * (places.stop - place - 1)  # instructions of the places that follow
        program += [
            _instruction(_LOAD_WORD, place),
            _instruction(_IF_EQUAL, probe, no=2),
            _instruction(_SET_INDEX, place + BOOT_PLACE),
            _instruction(_JUMP, left + 1),
        ]
    program += [
        _instruction(_RETURN, _KERNELS_CHOICE),
        _instruction(_LOAD_BYTE_AT_INDEX, 0),
        # "a" and what follows it are 10 and more; the digits stand before the letters.
        _instruction(_IF_NOT_LESS, ord("a"), no=1),
        _instruction(_SUBTRACT, ord("a") - ord("0") - 10),
        _instruction(_SUBTRACT, ord("0")),
        _instruction(_RETURN_ACCUMULATOR),
    ]
    return program


def steer(shared: socket.socket) -> None:
    """Let the program decide for all that share this socket's port: the first to bind is worker 0, and so on.

    Raises OSError where the kernel does not take it.
    """
    program = steering_program()
    code = ctypes.create_string_buffer(b"".join(program), len(program) * _INSTRUCTION.size)
    shared.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, _PROGRAM.pack(len(program), ctypes.addressof(code))
    )


def _instruction(code: int, value: int = 0, *, yes: int = 0, no: int = 0) -> bytes:
    """`yes` and `no`: how many instructions a test skips."""
    return _INSTRUCTION.pack(code, yes, no, value)
