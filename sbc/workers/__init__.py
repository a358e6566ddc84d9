"""Several processes that are one appliance: `[appliance] workers = N`.

Who is who. The process that was started is the *supervisor*: it opens every socket, starts the workers with them, starts
again whoever dies, and answers HTTP for all. It never sees a SIP message. A *worker* is the whole of `sbc.app` but for the
web server; `sbc.together` puts both together.

How a message finds its worker. From outside there is one appliance with one set of ports; each port is N sockets with
SO_REUSEPORT. The supervisor holds them open, so nothing changes when a worker dies, and what comes meanwhile waits for its
successor. Which socket gets a datagram the kernel decides (`steering`):

- A request by the addresses and ports of both ends: all of a phone, or of a server, comes to one worker.
- A response by the letter of the worker in our branch (`marks`), wherever it comes from.

So any worker can carry any request, because the response comes back to it, and what belongs to a dialog can be carried by
all, because the route cookie says everything. What is left is the first request of a call to a phone: only the worker where
the phone has registered knows its Contact. It came to the worker of that server, which hands it round to the one that knows
the phone (`handover`, `door`): one datagram more, in (N-1)/N of the calls that come in, and in no other. Workers that do not
run are the last to be asked. Over TCP and TLS a phone's connection, too, is at one worker: what a server sends for it inside
a call is handed round in the same way, and the answer goes back by the worker that has the server's connection (`lent`).
What belongs to a call stays where the call is, wherever its phone is now. Contacts at servers name no worker: one that
changed when a phone takes another source port, or when N changes, would be a second one to the registrar, and both would
ring.

(A port towards the servers for each worker would do without the program in the kernel. It would also need more from every
firewall, write two Record-Route lines instead of one, and cost more: a call that comes and goes by two sockets makes half as
many system calls again.)

What must be one is one:

- Health: whoever finds out that a server is down or up, or moves new requests, tells the supervisor, who puts all that is
  told in one order and tells it to all (`verdicts`). It also reports it, once. One worker alone probes the servers.
- Registrations: each worker keeps those of its phones in a folder of its own (`partitions`). A phone that comes to another
  worker than before is served there from its next REGISTER on, and the one before is told to forget it.
- Numbers: the supervisor asks the workers for theirs and adds up (`sbc.observe.together`).

    marks       which worker made this branch
    steering    the kernel's part
    restarts    when a worker that died is started again
    verdicts    what is known of the servers, in the one order that all agree on
    partitions  folders of state, and what becomes of them when N changes
    sockets     opened by the supervisor, used by the workers
    link        messages between supervisor and worker
    handover    datagrams from worker to worker
    door        what is not for this worker goes on to the next
    lent        connections of one worker that another answers over
    supervisor  all of that from the parent's side
"""
