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
        Authenticator(producer_keys=("key",), keys=HmacKey("x" * 32))
        print({{"joserfc", "cryptography", "httpx2"}} & {{*sys.modules}})
        sys.modules["roundel_service.identity.jose"].import_all()
        print("joserfc" in sys.modules)
    """
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ["set()", "True"] == done.stdout.splitlines()


def test_every_name_is_one_of_the_library():
    """`__all__` has the names that can be imported, and no other name is there."""
    for name in jose.__all__:
        assert getattr(jose, name)
    with pytest.raises(AttributeError, match="no attribute 'JWT'"):
        jose.JWT  # noqa: B018
