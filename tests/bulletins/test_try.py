from tests.bulletins.test_fanvil import *
def test_it(site):
    site.phone.registers()
    site.wait(1)
    primary = site.server("primary")
    primary.falls_silent()
    site.begin()
    site.wait(200)
    site.phone.registers()
    site.wait(1)
    print("\n".join(site.wire.told(site.wire.seen)))
    assert 0
