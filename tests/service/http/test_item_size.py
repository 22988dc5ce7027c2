"""The size of an item is that of its JSON, whatever is measured of it."""

from __future__ import annotations

import pytest
from msgspec import json

from roundel_service.http.decoding import decode_body, decode_data, item_size
from roundel_service.http.schemas import NotifyRequest

TO = {"to": {"user": "alice"}}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="title"),
        pytest.param({"title": 'é\u2028\U0001f514\n"\\'}, id="escapes"),
        pytest.param({"body": "b", "url": "/u", "icon": "/i"}, id="text"),
        pytest.param({"data": {"b": [1, 2.5, None], "a": "é"}}, id="data"),
        pytest.param({"category": "c", "key": "k", "source": "é"}, id="names"),
        pytest.param({"key": "k", "quiet": True, "ttl": 0.25}, id="quiet and ttl"),
        pytest.param({"replaces": "01J"}, id="replaces"),
    ],
)
def test_size_of_an_item(fields):
    """All fields count as they are, with their names, and the recipients as null."""
    notification = decode_body(
        json.encode({"title": "t", **TO} | fields), NotifyRequest
    )
    content = notification.content(decode_data(notification))
    defaults = {"category": "default", "quiet": False, "to": None}
    names = ("title", "body", "url", "icon", "key", "source", "data", "ttl", "replaces")
    whole = dict.fromkeys(names) | defaults | {"title": "t"} | fields

    assert len(json.encode(whole)) == item_size(notification, content)
