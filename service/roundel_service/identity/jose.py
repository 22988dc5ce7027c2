"""The names of joserfc that this folder uses, imported when they are first used.

The import takes 34 ms, most of it cryptography: a tenth of the start-up of the service.
The service calls `import_all()` in a thread once it listens.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joserfc import jwk, jws, jwt
    from joserfc.errors import BadSignatureError, InvalidPayloadError, JoseError
    from joserfc.registry import HeaderParameter
    from joserfc.util import base64_to_int

__all__ = [
    "BadSignatureError",
    "HeaderParameter",
    "InvalidPayloadError",
    "JoseError",
    "base64_to_int",
    "import_all",
    "jwk",
    "jws",
    "jwt",
]

_MODULES = {
    "BadSignatureError": "joserfc.errors",
    "HeaderParameter": "joserfc.registry",
    "InvalidPayloadError": "joserfc.errors",
    "JoseError": "joserfc.errors",
    "base64_to_int": "joserfc.util",
    "jwk": "joserfc.jwk",
    "jws": "joserfc.jws",
    "jwt": "joserfc.jwt",
}


def __getattr__(name: str) -> object:
    """Import *name* at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name])
    value = globals()[name] = getattr(module, name, module)
    return value


def import_all() -> None:
    """Import every name now."""
    for name in _MODULES:
        globals().get(name) or __getattr__(name)
