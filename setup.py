"""Builds the compiled parts. Everything else is in pyproject.toml.

Two kinds of compiled module:

* hot modules of `sbc/`, ordinary annotated Python (Cython's pure Python mode), compiled in place; they also run
  uncompiled when SBC_PURE_PYTHON=1 is set at run time (see `sbc/__init__.py`);
* what cannot be written as Python at all (system calls over arrays of structures): the sources in `ext/`.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

HOT_MODULES = [
    "sbc.clock",
    "sbc.events",
    "sbc.flow",
    "sbc.location.candidate",
    "sbc.nonces",
    "sbc.observe.lines",
    "sbc.observe.log",
    "sbc.observe.metrics",
    "sbc.observe.phone_events",
    "sbc.observe.recent",
    "sbc.observe.story",
    "sbc.proxy.core",
    "sbc.proxy.destination",
    "sbc.proxy.edge",
    "sbc.proxy.network",
    "sbc.proxy.own_routes",
    "sbc.proxy.overload",
    "sbc.proxy.pins",
    "sbc.proxy.response_context",
    "sbc.proxy.route_cookie",
    "sbc.proxy.routes",
    "sbc.proxy.sides",
    "sbc.proxy.validation",
    "sbc.redundancy.group",
    "sbc.redundancy.health",
    "sbc.redundancy.order",
    "sbc.redundancy.outcome",
    "sbc.redundancy.plan",
    "sbc.registration.accounts",
    "sbc.registration.answers",
    "sbc.registration.archive",
    "sbc.registration.bindings",
    "sbc.registration.census",
    "sbc.registration.contacts",
    "sbc.registration.errand",
    "sbc.registration.exchange",
    "sbc.registration.expiry",
    "sbc.registration.leg",
    "sbc.registration.phone_book",
    "sbc.registration.quarantine",
    "sbc.registration.refreshes",
    "sbc.registration.registrar",
    "sbc.registration.rejections",
    "sbc.registration.results",
    "sbc.registration.rhythm",
    "sbc.registration.rota",
    "sbc.registration.settlement",
    "sbc.registration.shown",
    "sbc.registration.targets",
    "sbc.registration.turns",
    "sbc.registration.written",
    "sbc.sip.headers",
    "sbc.sip.message",
    "sbc.sip.unguessable",
    "sbc.sip.uri",
    "sbc.store.notes",
    "sbc.transaction.client",
    "sbc.transaction.interface",
    "sbc.transaction.layer",
    "sbc.transaction.ledger",
    "sbc.transaction.machine",
    "sbc.transaction.matching",
    "sbc.transaction.server",
    "sbc.transport.listeners",
    "sbc.transport.turning",
    "sbc.transport.udp",
    "sbc.workers.door",
]

# Python's own options, -O3 -g, take two thirds more time to build; what they would do at run time was not measured by itself.
COMPILER = ["-O2", "-g0", "-include", "ext/texts.h"]

extensions = [Extension(name, [name.replace(".", "/") + ".py"]) for name in HOT_MODULES]
extensions += [
    Extension("sbc.sip.scanner", ["ext/scanner.pyx"]),
    Extension("sbc.sip.remembered", ["ext/remembered.pyx"]),
    Extension("sbc.sip.lines", ["ext/lines.pyx"]),
    Extension("sbc.sip.head", ["ext/head.pyx"]),
    Extension("sbc.sip.hop", ["ext/hop.pyx"]),
    Extension("sbc.transaction.branches", ["ext/branches.pyx"]),
    Extension("sbc.sip.writer", ["ext/writer.pyx"]),
    Extension("sbc.transport._datagrams", ["ext/datagrams.pyx"]),
    Extension("sbc.transport._turns", ["ext/turns.pyx"]),
]
for extension in extensions:
    extension.extra_compile_args = COMPILER
    extension.depends = ["ext/texts.h"]

setup(
    packages=find_packages(include=["sbc", "sbc.*"]),
    package_data={"sbc.observe": ["*.html"]},
    # Where `sbc.config` looks when it does not run from a checkout.
    data_files=[
        ("share/sbc", ["conf/sbc.toml"]),
        ("share/sbc/profiles", sorted(glob("conf/profiles/*.toml"))),
    ],
    ext_modules=cythonize(
        extensions,
        # Without it the .pxd of a module whose source is in ext/ would be ignored, silently.
        include_path=["."],
        language_level=3,
        build_dir="build",
        nthreads=os.cpu_count(),
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
