"""Permissions that hold for root too: for tests of what the system refuses."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Iterator

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: capabilities in two words of 32 bits
_OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, in the first word
_LIBC = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be refused what the permissions of a file refuse its owner, in this thread and those that it starts.

    Root keeps its id, since another user could not read a Python below /root; it does without the capabilities that
    override permissions. For any other user nothing changes.
    """
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    _call(_LIBC.capget, header, sets)
    before = sets[0].effective
    sets[0].effective = before & ~_OVERRIDES
    _call(_LIBC.capset, header, sets)
    try:
        yield
    finally:
        sets[0].effective = before
        _call(_LIBC.capset, header, sets)


def _call(function: "ctypes._FuncPointer", header: _Header, sets: "ctypes.Array[_Sets]") -> None:
    if function(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "the capabilities of this thread cannot be changed")
