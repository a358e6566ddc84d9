"""What every peer takes for granted: the domain, and the passwords."""

DOMAIN = "testdomain.local"
"""The phones' domain, and the realm of the servers' challenges."""


def password_of(name: str) -> str:
    """Every account's password follows from its name, here and in kamailio/registrar.cfg."""
    return f"secret-{name}"
