"""The grammar of the Host field and of the `:authority` of HTTP/2."""

from __future__ import annotations

import re

# RFC 3986 3.2.2 and 3.2.3, without the user information (RFC 9110 4.2.4).
HOST = re.compile(
    rb"(?:\[[0-9A-Za-z.:_~!$&'()*+,;=%-]+\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
