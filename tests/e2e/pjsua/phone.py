"""A phone of PJSIP (pjsua2) without a sound card, as a program of its own: `phone.py PORT ACCOUNT...`.

Each account is `name:domain:password:proxy:expires:realm`, realm `*` for any. Commands come as lines on standard input: `call
NUMBER URI` for the account of that number, counted from 0, and `hangup`. What happens is told on standard output: `registration
NAME STATUS REASON EXPIRES`, `call STATE STATUS`. It takes every call.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys

import pjsua2


class Account(pjsua2.Account):
    def __init__(self, name: str, calls: list[Call]) -> None:
        super().__init__()
        self._name = name
        self._calls = calls

    def onRegState(self, event: pjsua2.OnRegStateParam) -> None:
        print(f"registration {self._name} {event.code} {event.reason} {event.expiration}", flush=True)

    def onIncomingCall(self, event: pjsua2.OnIncomingCallParam) -> None:
        call = Call(self, event.callId)
        self._calls.append(call)
        call.answer(status(200))


class Call(pjsua2.Call):
    def onCallState(self, event: pjsua2.OnCallStateParam) -> None:
        info = self.getInfo()
        print(f"call {info.stateText} {info.lastStatusCode}", flush=True)


def status(code: int) -> pjsua2.CallOpParam:
    parameters = pjsua2.CallOpParam(True)
    parameters.statusCode = code
    return parameters


def account_settings(name: str, domain: str, password: str, proxy: str, expires: str, realm: str) -> pjsua2.AccountConfig:
    settings = pjsua2.AccountConfig()
    settings.idUri = f"sip:{name}@{domain}"
    settings.regConfig.registrarUri = f"sip:{domain}"
    settings.regConfig.timeoutSec = int(expires)
    settings.regConfig.retryIntervalSec = settings.regConfig.firstRetryIntervalSec = 60
    settings.sipConfig.proxies.append(f"sip:{proxy};lr")
    settings.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", realm, name, 0, password))
    # Behind no NAT: the Contact is the phone's own address, and a registrar's view of it changes nothing.
    settings.natConfig.contactRewriteUse = 0
    return settings


def main() -> None:
    port, *accounts = sys.argv[1:]
    endpoint = pjsua2.Endpoint()
    endpoint.libCreate()
    settings = pjsua2.EpConfig()
    settings.uaConfig.threadCnt = 0
    settings.uaConfig.mainThreadOnly = True
    settings.logConfig.consoleLevel = 2
    settings.logConfig.level = 2
    endpoint.libInit(settings)
    transport = pjsua2.TransportConfig()
    transport.port = int(port)
    transport.boundAddress = "127.0.0.1"
    endpoint.transportCreate(pjsua2.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    commands = open(0, "rb", buffering=0)  # select() sees nothing of what a buffer holds
    calls: list[Call] = []
    lines = []
    for account in accounts:
        # The proxy has a colon of its own.
        name, domain, password, host, proxy_port, expires, realm = account.split(":")
        line = Account(name, calls)
        line.create(account_settings(name, domain, password, f"{host}:{proxy_port}", expires, realm))
        lines.append(line)
    while True:
        endpoint.libHandleEvents(20)
        if not select.select([commands], [], [], 0)[0]:
            continue
        command, *arguments = (commands.readline().decode() or "quit").split()
        if command == "call":
            call = Call(lines[int(arguments[0])])
            calls.append(call)
            call.makeCall(arguments[1], pjsua2.CallOpParam(True))
        elif command == "hangup":
            for call in calls:
                with contextlib.suppress(pjsua2.Error):
                    call.hangup(status(200))
            calls.clear()
        else:
            break
    endpoint.hangupAllCalls()
    # Without taking it apart: calls that Python still holds would look for their endpoint.
    os._exit(0)


if __name__ == "__main__":
    main()
