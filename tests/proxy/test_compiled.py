"""The way of every call through the proxy is compiled, unless the tests run the sources on purpose."""

import importlib.machinery
import os

import pytest

from sbc.proxy import (
    core,
    destination,
    edge,
    network,
    overload,
    own_routes,
    pins,
    response_context,
    route_cookie,
    routes,
    sides,
    validation,
)

MODULES = [
    core, destination, edge, network, own_routes, overload, pins, response_context, route_cookie, routes, sides,
    validation,
]  # fmt: skip
PURE = os.environ.get("SBC_PURE_PYTHON") == "1"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_is_what_was_asked_for(module):
    suffixes = importlib.machinery.SOURCE_SUFFIXES if PURE else importlib.machinery.EXTENSION_SUFFIXES
    assert module.__file__.endswith(tuple(suffixes))
    assert module.COMPILED is not PURE


@pytest.mark.skipif(PURE, reason="the sources are run on purpose")
@pytest.mark.parametrize(
    "kind",
    [
        core.Proxy, destination.Destinations, destination.ToPhone, destination.ToServers, destination.ToUs, edge.Edge,
        network.Network, network.PhoneAddress, own_routes.OwnRoutes, overload.Overload, pins.Answers, pins.Pins,
        response_context.Branch, response_context.ResponseContext, response_context.Route, route_cookie.RouteCookie,
        routes.ByeRoute, routes.PhoneRoute, routes.ServersRoute, routes.Ways, sides.Origin, sides.Sides,
        validation.Branches,
    ],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_class_is_compiled(kind):
    """A compiled class has no instance dictionary, and the type itself is immutable.

    (A .pxd that the build overlooks leaves ordinary classes in an extension module, silently.)
    """
    assert not hasattr(kind.__new__(kind), "__dict__")
    with pytest.raises(TypeError):
        kind.not_there = 1
