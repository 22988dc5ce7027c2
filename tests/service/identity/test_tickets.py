"""Tickets: what opens a stream, until when, and for whom."""

from __future__ import annotations

import re

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from roundel_service.http.problems import Problem
from roundel_service.identity.tickets import TICKET_TTL, Tickets

NOW = 1_000_000.0
KEY = "a-producer-key-of-more-than-32-bytes"


class Clock:
    """Seconds since 1970, as a test sets them."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def tickets(*keys: str, clock: Clock | None = None) -> Tickets:
    return Tickets(producer_keys=keys or (KEY,), clock=clock or Clock())


def issued(by: Tickets, holds_until: float = NOW + 3_600) -> str:
    return by.issue("alice", holds_until=holds_until, issued_at=NOW - 5)


def test_ticket_says_whose_it_is_and_how_long_it_is_of_use():
    """It is read back as it was issued, with a minute for its first use."""
    ticket = tickets().read(issued(tickets()))

    assert "alice" == ticket.user
    assert NOW + TICKET_TTL == ticket.opens_until
    assert NOW + 3_600 == ticket.holds_until
    assert NOW - 5 == ticket.issued_at


def test_ticket_never_outlives_the_proof_behind_it():
    """A proof with ten seconds to go makes a ticket of ten seconds."""
    clock = Clock()
    some = tickets(clock=clock)
    text = issued(some, NOW + 10)

    assert NOW + 10 == some.read(text).opens_until
    clock.now = NOW + 10
    with pytest.raises(Problem) as refused:
        some.read(text)
    assert 401 == refused.value.status


def test_ticket_is_read_after_the_time_for_its_first_use():
    """Its own stream can be reopened long after, so that is for the stream to say."""
    clock = Clock()
    some = tickets(clock=clock)
    text = issued(some)
    clock.now = NOW + 3_599

    assert "alice" == some.read(text).user


def test_tickets_are_shared_by_all_who_share_the_keys_and_survive_a_restart():
    """Nothing is kept: another process reads the same ticket, resume key and all."""
    text = issued(tickets())

    assert tickets().read(text) == tickets().read(text)


def test_tickets_live_through_a_rotation_of_keys():
    """With the new key first, tickets of the old one keep their resume keys."""
    text = issued(tickets("old"))
    before, after = tickets("old").read(text), tickets("new", "old").read(text)

    assert before == after
    assert "alice" == tickets("new").read(issued(tickets("new", "old"))).user


def test_no_two_tickets_are_alike():
    """The same request twice makes two tickets, of which each opens one stream."""
    some = tickets()
    first, second = some.read(issued(some)), some.read(issued(some))

    assert first.id != second.id
    assert len(first.id) >= 22
    assert first.resume_key != second.resume_key


def test_only_a_cursor_with_the_resume_key_reopens():
    """The key is of a cursor's alphabet and is not to be found in the ticket."""
    text = issued(tickets())
    ticket = tickets().read(text)
    other = tickets().read(issued(tickets()))

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", ticket.resume_key)
    assert ticket.resume_key not in text
    assert ticket.resume_key != tickets("other").read(issued(tickets("other")))
    assert ticket.reopens(ticket.resume_key)
    for key in (
        None,
        "",
        other.resume_key,
        ticket.id,
        ticket.resume_key[:-1],
        "é\ud800",
    ):
        assert not ticket.reopens(key)


def signed(claims, key: str) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(key))


CLAIMS = {"jti": "i", "sub": "eve", "opens": 9e9, "holds": 9e9, "iat": 0, "exp": 9e9}
FOREIGN = {
    "nothing": "",
    "nonsense": "nonsense",
    "three-parts": "a.b.c",
    "five-parts": "a.b.c.d.e",
    "not-ascii": "é",
    "surrogate": "\ud800",
    "huge": "a" * 1_000_000,
    "signed-with-the-producer-key": signed(CLAIMS, KEY),
    "signed-with-another-key": issued(tickets("another")),
    "not-signed": issued(tickets()).rpartition(".")[0] + ".",
    "changed": issued(tickets())[:-2] + "AA",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_what_was_not_issued_here_is_401(text):
    """Whatever else is presented as a ticket is refused, and not repeated."""
    with pytest.raises(Problem) as refused:
        tickets().read(text)

    assert 401 == refused.value.status
    assert not text or text not in str(refused.value.document())


def test_nobody_has_a_ticket_without_producer_keys():
    """Where no ticket can be issued, none is good."""
    with pytest.raises(Problem) as refused:
        Tickets(producer_keys=()).read(issued(tickets()))

    assert 401 == refused.value.status


def test_tickets_print_no_secret():
    """Neither a key nor a resume key gets into a log line by itself."""
    some = tickets()
    ticket = some.read(issued(some))

    assert KEY not in repr(some)
    assert ticket.resume_key not in repr(ticket)
    assert ticket.id not in repr(ticket)
