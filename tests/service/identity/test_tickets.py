"""Tickets: for whom, until when, and with which resume key."""

from __future__ import annotations

import re

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from roundel_service.identity.errors import InvalidCredentials
from roundel_service.identity.tickets import TICKET_TTL, Tickets

NOW = 1_000_000.0
KEY = "a-producer-key-of-more-than-32-bytes"


class Clock:
    """Seconds since 1970, set by the test."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def make_tickets(*keys: str, clock: Clock | None = None) -> Tickets:
    return Tickets(producer_keys=keys or (KEY,), clock=clock or Clock())


def issue(tickets: Tickets, expires_at: float = NOW + 3_600) -> str:
    return tickets.issue("alice", expires_at=expires_at, issued_at=NOW - 5)


def test_ticket_holds_its_user_and_times():
    """A verified ticket has the issued values, and 60 s for its first use."""
    ticket = make_tickets().verify(issue(make_tickets()))

    assert "alice" == ticket.user
    assert NOW + TICKET_TTL == ticket.first_use_until
    assert NOW + 3_600 == ticket.expires_at
    assert NOW - 5 == ticket.issued_at


def test_ticket_expires_with_the_credentials_behind_it():
    """Credentials that are valid for ten more seconds make a ticket of ten seconds."""
    clock = Clock()
    tickets = make_tickets(clock=clock)
    text = issue(tickets, NOW + 10)

    assert NOW + 10 == tickets.verify(text).first_use_until
    clock.now = NOW + 10
    with pytest.raises(InvalidCredentials, match="expired"):
        tickets.verify(text)


def test_ticket_is_verified_after_the_time_for_its_first_use():
    """`verify()` checks only the expiry, so that the ticket can reopen its stream."""
    clock = Clock()
    tickets = make_tickets(clock=clock)
    text = issue(tickets)
    clock.now = NOW + 3_599

    assert "alice" == tickets.verify(text).user


def test_processes_with_the_same_keys_accept_the_same_tickets():
    """Another process derives the same ticket and resume key from the text."""
    text = issue(make_tickets())

    assert make_tickets().verify(text) == make_tickets().verify(text)


def test_tickets_survive_a_rotation_of_keys():
    """With the new key first, tickets of the old key keep their resume keys."""
    text = issue(make_tickets("old"))
    before = make_tickets("old").verify(text)
    after = make_tickets("new", "old").verify(text)

    assert before == after
    assert "alice" == make_tickets("new").verify(issue(make_tickets("new", "old"))).user


def test_tickets_are_all_different():
    """Two tickets of the same user have different ids and resume keys."""
    tickets = make_tickets()
    first, second = tickets.verify(issue(tickets)), tickets.verify(issue(tickets))

    assert first.id != second.id
    assert len(first.id) >= 22
    assert first.resume_key != second.resume_key


def test_only_the_resume_key_matches():
    """The resume key fits into a cursor, and the ticket does not contain it."""
    text = issue(make_tickets())
    ticket = make_tickets().verify(text)
    other = make_tickets().verify(issue(make_tickets()))

    assert re.fullmatch(r"[A-Za-z0-9_-]{1,32}", ticket.resume_key)
    assert ticket.resume_key not in text
    assert ticket.matches_resume_key(ticket.resume_key)
    for key in (
        None,
        "",
        other.resume_key,
        ticket.id,
        ticket.resume_key[:-1],
        ticket.resume_key[::-1],
        "é\ud800",
    ):
        assert not ticket.matches_resume_key(key)


def signed(claims, key: str) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(key))


CLAIMS = {"jti": "i", "sub": "eve", "opens": 9e9, "holds": 9e9, "iat": 0, "exp": 9e9}
FOREIGN = {
    "empty": "",
    "nonsense": "nonsense",
    "three-parts": "a.b.c",
    "five-parts": "a.b.c.d.e",
    "not-ascii": "é",
    "surrogate": "\ud800",
    "huge": "a" * 1_000_000,
    "signed-with-the-producer-key": signed(CLAIMS, KEY),
    "signed-with-another-key": issue(make_tickets("another")),
    "not-signed": issue(make_tickets()).rpartition(".")[0] + ".",
    "changed": issue(make_tickets())[:-2] + "AA",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
def test_foreign_text_is_refused_and_not_quoted(text):
    """A text that was not issued with these keys is no ticket."""
    with pytest.raises(InvalidCredentials, match="not issued") as error:
        make_tickets().verify(text)

    assert not text or text not in str(error.value)


def test_no_ticket_is_valid_without_producer_keys():
    """A service without producer keys issues no tickets and accepts none."""
    with pytest.raises(InvalidCredentials, match="not issued"):
        Tickets(producer_keys=()).verify(issue(make_tickets()))


def test_tickets_print_no_secret():
    """The `repr` of tickets shows no producer key, resume key or id."""
    tickets = make_tickets()
    ticket = tickets.verify(issue(tickets))

    assert KEY not in repr(tickets)
    assert ticket.resume_key not in repr(ticket)
    assert ticket.id not in repr(ticket)
