"""The site on its own, when no call server answers: local registrar, local calls, gateways, emergency numbers.
Empty so far: until it is built, phones get 480 or 500 while every server is down."""
