"""The commands: `sbc run`, `check`, `status`, `explain`, `failback`, `resync`, `resolve` and `demo`. Each brings in
what it needs when asked for.

Exit status: 0 as wished; 1 could not run, or does not run, or found nothing, or the demo's story did not come true; 2 bad
configuration or bad arguments. What goes wrong is said in one line, never as a traceback, unless SBC_TRACEBACK=1 asks for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sbc import __version__
from sbc.redundancy.settings import SERVER_TRANSPORTS, SRV_TRANSPORTS, SRV_WEIGHTS

if TYPE_CHECKING:
    from sbc.config import Config, Running

BAD_CONFIGURATION = 2
INTERRUPTED = 130  # what shells report for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if os.environ.get("SBC_TRACEBACK") == "1":
        return options.command(options)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `sbc check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 (the last line of defence; below it everything is specific)
        text = str(error) or "no further explanation"
        print(f"sbc: {type(error).__name__}: {text} (SBC_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sbc", description="Keeps telephones in service when their call server dies."
    )
    parser.add_argument("--version", action="version", version=f"sbc {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the appliance, in the foreground")
    _add_file_option(run)
    run.add_argument("--worker", type=int, help=argparse.SUPPRESS)  # how the supervisor starts its workers
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="validate the configuration and show all that is in force")
    _add_file_option(check)
    check.add_argument("--live", action="store_true", help="also resolve every server and send it an OPTIONS")
    check.set_defaults(command=_check)

    status = commands.add_parser("status", help="what the running appliance sees")
    _add_file_option(status)
    status.add_argument("--json", action="store_true", help="everything, for programs")
    status.set_defaults(command=_status)

    explain = commands.add_parser("explain", help="all about one number: where it is registered, why not elsewhere, what is next")
    explain.add_argument("aor", metavar="AOR", help="as the phone registers it: sip:NUMBER@DOMAIN")
    _add_file_option(explain)
    explain.add_argument("--json", action="store_true", help="the same for programs")
    explain.set_defaults(command=_explain)

    failback = commands.add_parser("failback", help="let new requests return to the best server that is well, now")
    failback.add_argument("group", nargs="?", metavar="GROUP", help="the name of a group; without it, all of them")
    _add_file_option(failback)
    failback.set_defaults(command=_failback)

    resync = commands.add_parser(
        "resync",
        help="register all phones at a server again, one after the other: it has lost them, and has not been seen to be down",
        description="Registers all phones at a server again, as when it has come back: by importance, at a pace that it stands.",
    )
    resync.add_argument("--server", metavar="NAME", required=True, help="as [[group.server]] names it")
    resync.add_argument("--group", metavar="NAME", help="without it, all groups that have a server of that name")
    resync.add_argument(
        "--rate", metavar="N", type=_rate, help="most REGISTERs in a second, in the place of resync_rate"
    )
    _add_file_option(resync)
    resync.set_defaults(command=_resync)

    resolve = commands.add_parser(
        "resolve",
        help="how a name becomes addresses: every DNS query, its answer, and why the next one is asked",
        description="Looks up a server as the appliance would, and tells the whole story. Exit status 1: nothing was found.",
    )
    resolve.add_argument("name", metavar="NAME", help="as [[group.server]] would have it in `address`")
    resolve.add_argument("--port", type=int, default=0, help="0, the default: found by DNS")
    resolve.add_argument("--transport", choices=SERVER_TRANSPORTS, default="dns-naptr", help="default: dns-naptr")
    resolve.add_argument("--srv-weight", choices=SRV_WEIGHTS, default="rfc2782", help="default: rfc2782")
    resolve.add_argument(
        "--naptr-build", choices=SRV_TRANSPORTS, default="udp", help="whose SRV when NAPTR gives nothing; default: udp"
    )
    resolve.add_argument(
        "--dns", metavar="ADDRESS[:PORT]", action="append", default=[], help="DNS server to ask; repeatable"
    )
    resolve.add_argument("--again", action="store_true", help="then tell how the answers are found in the cache")
    resolve.add_argument(
        "-c", "--config", metavar="FILE", type=Path, help="ask the DNS servers of this configuration, for its sockets;"
        " default: the system's servers, for all kinds of sockets"
    )  # fmt: skip
    resolve.set_defaults(command=_resolve)

    demo = commands.add_parser("demo", help="the whole story on this machine, with simulated servers and phones")
    demo.add_argument("--keep", action="store_true", help="leave it running, with its status page, until Ctrl-C")
    demo.set_defaults(command=_demo)
    return parser


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.1 <= rate <= 10000:
        raise ValueError
    return rate


_rate.__name__ = "number from 0.1 to 10000"  # as argparse says what it expected


def _add_file_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="the configuration; default: /etc/sbc/sbc.toml, else conf/sbc.toml in the current folder",
    )


def _run(options: argparse.Namespace) -> int:
    if options.worker is not None:
        from sbc import together

        return together.run_worker(options.worker)
    config = _load(options.config)
    if config is None:
        return BAD_CONFIGURATION
    if config.appliance.processes > 1:
        from sbc import together

        return together.run(config)
    from sbc import app

    return app.run(config)


def _check(options: argparse.Namespace) -> int:
    config = _load(options.config)
    if config is None:
        return BAD_CONFIGURATION
    from sbc.config import expanded

    sys.stdout.write(expanded(config))
    if options.live:
        from sbc import preflight

        sys.stdout.write("\n")
        preflight.ping_servers(config, sys.stdout)
    return 0


def _status(options: argparse.Namespace) -> int:
    config = _load_running(options.config, "http")
    if config is None:
        return BAD_CONFIGURATION
    from sbc.observe.status import print_status

    return print_status(config, as_json=options.json)


def _explain(options: argparse.Namespace) -> int:
    config = _load_running(options.config, "http")
    if config is None:
        return BAD_CONFIGURATION
    from sbc.observe.explain import print_explanation

    return print_explanation(config, options.aor, as_json=options.json)


def _failback(options: argparse.Namespace) -> int:
    return _tell(options, "failback", group=options.group)


def _resync(options: argparse.Namespace) -> int:
    return _tell(options, "resync", server=options.server, group=options.group, rate=options.rate)


def _tell(options: argparse.Namespace, command: str, **fields: object) -> int:
    """A command for the running appliance."""
    config = _load_running(options.config, "appliance")
    if config is None:
        return BAD_CONFIGURATION
    from sbc import control

    try:
        answer = control.ask(config.appliance.state_dir, command, **fields)
    except PermissionError:
        socket = config.appliance.state_dir / control.NAME
        print(f"sbc: {socket} is for the appliance's own user and root", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"sbc: not running: {config.appliance.state_dir}: {getattr(error, 'strerror', error)}", file=sys.stderr)
        return 1
    for line in answer["text"]:
        print(line, file=sys.stdout if answer["ok"] else sys.stderr)
    return 0 if answer["ok"] else 1


def _resolve(options: argparse.Namespace) -> int:
    from sbc.config.errors import Unexpected, shown
    from sbc.config.kinds import dns_server, host_list, number

    given = []
    kinds = [("NAME", host_list, options.name), ("--port", number(0, 65535), options.port)]
    kinds += [("--dns", dns_server, server) for server in options.dns]
    for what, kind, value in kinds:
        try:
            given.append(kind(value))
        except Unexpected as error:
            print(f"sbc resolve: {what}: found {error.found or shown(value)}, expected {error.expected}", file=sys.stderr)
            return BAD_CONFIGURATION
    name, port, *dns_servers = given
    config = None
    if options.config is not None:
        config = _load(options.config, show_warnings=False)
        if config is None:
            return BAD_CONFIGURATION
    from sbc import resolve

    wanted = resolve.Wanted(name, port, options.transport, options.naptr_build, options.srv_weight)
    return resolve.run(wanted, config, dns_servers, again=options.again)


def _demo(options: argparse.Namespace) -> int:
    from sbc.lab import demo

    return demo.main(options.keep)


def _load(path: Path | None, *, show_warnings: bool = True) -> Config | None:
    """The configuration; None when it is bad, after having said why on standard error."""
    from sbc.config import ConfigErrors, default_path, load

    try:
        config = load(path or default_path())
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return None
    if show_warnings:
        for warning in config.warnings:
            print(warning, file=sys.stderr)
    return config


def _load_running(path: Path | None, table: str) -> Config | Running | None:
    """Where the running appliance is: it needs that table of the configuration, and runs on whatever else in it is broken by now.
    None when it cannot be read. What is wrong is said on standard error."""
    from sbc.config import ConfigErrors, default_path, load, load_running

    try:
        path = path or default_path()
        return load(path)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)
    if path is None:
        return None
    try:
        running = load_running(path, table)
    except ConfigErrors:
        print(f"sbc: [{table}] of {path} cannot be read, so the running appliance cannot be found", file=sys.stderr)
        return None
    print(f"sbc: warning: {path} cannot be used as it is; the running appliance is asked all the same", file=sys.stderr)
    return running
