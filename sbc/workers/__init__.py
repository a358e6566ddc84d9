"""Several processes that are one appliance: `[appliance] workers = N`.

Who is who. The process that was started is the *supervisor*: it opens every socket, starts the workers with them, starts
again whoever dies, and answers HTTP for all. It never sees a SIP message. A *worker* is the whole of `sbc.app` but for the
web server; `sbc.worker` puts it together.

How a message finds its worker. Most are led there by the kernel alone:

- The phones' port is N sockets with SO_REUSEPORT. The kernel chooses one by the addresses and ports of both ends, so a phone
  stays with one worker. The supervisor holds the sockets open, so the choice does not change when a worker dies, and what
  comes meanwhile waits for its successor.
- Servers answer where a request came from, and send what belongs to a dialog where our Record-Route leads. So each worker has
  a port of its own towards the servers (`worker_port` of the `[[listen]]`, and those that follow), and writes it there.

What is left is a call of a server to a phone: it goes to the Contact that we registered, and that names the phones' port, not
a worker's. A Contact must not change when a phone comes from another source port or when N changes, or the registrar would
have two for one phone and both would ring. So the first INVITE of such a call comes to whichever worker the kernel chose for
that server, which hands it to the neighbour that knows the phone (`handover`, `door`): one datagram more, and only in
(N-1)/N of the calls that come in. All that follows goes straight to the neighbour, because its Record-Route says so.
A response at the wrong place, from a phone that answers from another port than it is called at, shows its owner by a letter
in our branch (`marks`).

What must be one is one:

- Health: whoever finds out that a server is down or up, or moves new requests, tells the supervisor, who puts all that is
  told in one order and tells it to all (`verdicts`). It also reports it, once. One worker alone probes the servers.
- Registrations: each worker keeps those of its phones in a folder of its own (`partitions`). A phone that comes to another
  worker than before is served there from its next REGISTER on, and the one before is told to forget it.
- Numbers: the supervisor asks the workers for theirs and adds up (`sbc.observe.together`).

    marks       which worker made this branch
    restarts    when a worker that died is started again
    verdicts    what is known of the servers, in the one order that all agree on
    partitions  folders of state, and what becomes of them when N changes
    sockets     opened by the supervisor, used by the workers
    link        messages between supervisor and worker
    handover    datagrams from worker to worker
    door        what is not for this worker goes on to the next
    supervisor  all of that from the parent's side
"""
