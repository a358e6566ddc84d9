"""The phones and their registrations at the call servers (RFC 3261 section 10).

`registrar` is the door: every REGISTER of a phone comes in there, and inbound calls ask it where a phone is. Read
`exchange` next, the way of one REGISTER, then `leg`, its part at one server, and `written`, what is sent. `settlement` is what
follows from the servers' answers, `phone_book` what is written down of them. `bindings` and
`expiry` are what is known of the phones, `archive` brings it to disk, `contacts` are the two spellings of a Contact (the
phone's and ours), `targets` what the settings say of a group's servers, `own_digest` answers challenges with the password file
(whose challenge is whose is for `sbc.nonces` to know), `extensions` what servers are offered and have refused.

`accounts` are those that a server refuses, `rejections` who has shown wrong passwords too often, `quarantine` who loops. `described`
is what of all this the status page shows, `census` counts the phones for it, `explained` is all about one of them.

Where only the phone can answer, and several servers want it to, they take turns: `rota` decides whose turn it is, `turns` is
what one REGISTER means for that, `shown` the credentials that the phone shows, `rhythm` when a server has to hear of it again.
`results` and `answers` are what an exchange's legs have come to and what the phone is told of it.

What the appliance registers by itself begins with `upkeep`, and the decision with `steps`; `errand` is one REGISTER of that
kind, `served` what is remembered meanwhile; `resyncs` and `resync` give a server that is back its phones one by one.
`held_requests` are calls that wait for such a one, `missed_removals` are those that a dead server did not hear of.

A phone renews several times an hour, and there are thousands of them. So what every renewal passes is compiled and
typed (the .pxd files), and reads and writes messages as octets; what only some do, like answering a challenge, is
ordinary Python.
"""
