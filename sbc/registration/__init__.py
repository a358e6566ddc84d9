"""The phones and their registrations at the call servers (RFC 3261 section 10).

`registrar` is the door: every REGISTER of a phone comes in there, and inbound calls ask it where a phone is. Read
`exchange` next, the way of one REGISTER, then `leg`, its part at one server. `bindings` and `expiry` are what is
known of the phones, `contacts` the two spellings of a Contact (the phone's and ours), `nonces` and `own_digest` whose
challenge is whose, `rejections` who has answered wrongly too often.
"""
