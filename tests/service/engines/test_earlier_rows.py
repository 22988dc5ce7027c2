"""Rows that earlier versions of the service have written.

Whole files and stores of them are in the tests of the engines.
"""

from __future__ import annotations

import pytest

from roundel_service.domain.revocation import Revocation
from roundel_service.engines.codec.earlier import decode_record

MAILBOX = '["e",3,false,0.0,5.0,{}]'


def change(v: int) -> str:
    return f'["e",{v},false,{{}},"gauge","producer",0.0,null,[]]'


def test_result_without_a_digest():
    """A row that was written before results had a digest is still read."""
    results = [("producer x", '["e",1,false,{"c":[1,1]},2.0,"a"]')]
    record = decode_record(MAILBOX, items=(), results=results, changes=())
    result = record.mailbox.results["producer x"]

    assert ("a", 2.0, "") == (result.item, result.time, result.digest)


@pytest.mark.parametrize(
    ("row", "issued_before"),
    [(MAILBOX, 5.0), ('["e",3,false,0.0,5.0,{},4.0]', 4.0)],
)
def test_revocation(row, issued_before):
    """Only a row whose revocation has a time of the issuer's clock has that time."""
    record = decode_record(row, items=(), results=(), changes=())

    assert Revocation(5.0, issued_before) == record.mailbox.revocation


def test_change_that_does_not_precede_the_next():
    """Stored changes before a gap in the versions are ignored."""
    rows = [change(1), change(3)]
    record = decode_record(MAILBOX, items=(), results=(), changes=rows)

    assert [3] == [each.v for each in record.changes]
