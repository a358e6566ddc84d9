"""The hot modules are compiled, unless the tests run the sources on purpose."""

import importlib.machinery
import os

import pytest

from sbc.sip import head, headers, hop, lines, message, scanner, uri

pure = pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") == "1", reason="the sources are run on purpose")


@pure
@pytest.mark.parametrize("module", [message, headers, uri, hop, head, lines, scanner])
def test_module_is_an_extension(module):
    """The build compiled it in place, and this is what was imported."""
    assert module.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))
    assert getattr(module, "COMPILED", True)


@pure
@pytest.mark.parametrize(
    "kind",
    [message.Request, message.Response, hop.Hop, head.Head, lines.Lines, lines.OwnLine, headers.NameAddr, uri.SipUri],
)
def test_class_is_compiled(kind):
    """A compiled class has no instance dictionary, and its methods are not Python functions.

    (A .pxd that the build overlooks leaves ordinary classes in an extension module, silently.)
    """
    assert not hasattr(kind.__new__(kind), "__dict__")
    assert not any(
        hasattr(value, "__code__") and hasattr(value, "__globals__")
        for value in vars(kind).values()
        if type(value).__name__ == "function"
    )
    with pytest.raises(TypeError):
        kind.not_there = 1  # the type itself is immutable


@pytest.mark.skipif(os.environ.get("SBC_PURE_PYTHON") != "1", reason="the compiled modules are run")
@pytest.mark.parametrize("module", [message])
def test_module_is_a_source(module):
    """SBC_PURE_PYTHON=1 runs the source."""
    assert module.__file__.endswith(".py")
    assert not module.COMPILED
