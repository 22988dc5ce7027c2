"""joserfc is imported when it is first used, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roundel_service.identity import jose

MODULES = "authenticator hmac_key jwk_set jwks jwks_fetch tickets"


@pytest.mark.slow
def test_authenticator_is_built_without_joserfc_and_httpx2():
    """The start-up needs neither library; `import_all()` imports joserfc."""
    program = f"""if True:
        import sys
        from importlib import import_module
        for name in {MODULES!r}.split():
            import_module(f"roundel_service.identity.{{name}}")
        from roundel_service.identity.hmac_key import HmacKey
        from roundel_service.identity.authenticator import Authenticator
        Authenticator(producer_keys=("key",), keys=HmacKey(("x" * 32,)))
        print({{"joserfc", "cryptography", "httpx2"}} & {{*sys.modules}})
        sys.modules["roundel_service.identity.jose"].import_all()
        print("joserfc" in sys.modules)
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ["set()", "True"] == done.stdout.splitlines()


@pytest.mark.slow
def test_running_service_imports_joserfc():
    """The import begins when the service listens, so the first token finds it done."""
    program = """if True:
        import sys
        import trio
        from roundel_service import app
        from roundel_service.settings import load

        async def shutdown():
            while "joserfc.jwt" not in sys.modules:
                await trio.sleep(0.01)

        given = {
            "engine": "memory", "bind": "127.0.0.1:0", "ops_bind": "",
            "producer_keys": "k" * 16, "jwt_secret": "s" * 32,
        }
        settings = load(given, {})
        service = app.build(settings)
        print("joserfc" in sys.modules)
        trio.run(lambda: app.run(service, settings, shutdown=shutdown))
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=20
    )

    assert ["False"] == done.stdout.splitlines()


def test_every_name_is_one_of_the_library():
    """`__all__` has the names that can be imported, and no other name is there."""
    for name in jose.__all__:
        assert getattr(jose, name)
    with pytest.raises(AttributeError, match="no attribute 'JWT'"):
        jose.JWT  # noqa: B018
