"""Tickets: for whom, until when, and with which resume key."""

from __future__ import annotations

import re

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from roundel_service.identity.errors import InvalidCredentials
from roundel_service.identity.tickets import TICKET_TTL, Tickets

NOW = 1_000_000.0
SECRET = b"a random secret of the store, 32 bytes or more"


class Clock:
    """Seconds since 1970, set by the test."""

    now = NOW

    def __call__(self) -> float:
        return self.now


def make_tickets(secret: bytes = SECRET, clock: Clock | None = None) -> Tickets:
    async def read() -> bytes:
        return secret

    return Tickets(secret=read, clock=clock or Clock())


async def issue(tickets: Tickets, expires_at: float = NOW + 3_600) -> str:
    return await tickets.issue("alice", expires_at=expires_at, issued_at=NOW - 5)


async def test_ticket_holds_its_user_and_times():
    """A verified ticket has the issued values, and 60 s for its first use."""
    ticket = await make_tickets().verify(await issue(make_tickets()))

    assert "alice" == ticket.user
    assert NOW + TICKET_TTL == ticket.first_use_until
    assert NOW + 3_600 == ticket.expires_at
    assert NOW - 5 == ticket.issued_at


async def test_ticket_expires_with_the_credentials_behind_it():
    """Credentials that are valid for ten more seconds make a ticket of ten seconds."""
    clock = Clock()
    tickets = make_tickets(clock=clock)
    text = await issue(tickets, NOW + 10)

    assert NOW + 10 == (await tickets.verify(text)).first_use_until
    clock.now = NOW + 10
    with pytest.raises(InvalidCredentials, match="expired"):
        await tickets.verify(text)


async def test_ticket_is_verified_after_the_time_for_its_first_use():
    """`verify()` checks only the expiry, so that the ticket can reopen its stream."""
    clock = Clock()
    tickets = make_tickets(clock=clock)
    text = await issue(tickets)
    clock.now = NOW + 3_599

    assert "alice" == (await tickets.verify(text)).user


async def test_nodes_with_the_same_secret_accept_the_same_tickets():
    """Another node derives the same ticket and resume key from the text."""
    text = await issue(make_tickets())

    assert await make_tickets().verify(text) == await make_tickets().verify(text)


async def test_ticket_of_another_secret_is_refused():
    """After the secret was replaced, earlier tickets are invalid."""
    text = await issue(make_tickets(b"old" * 12))

    with pytest.raises(InvalidCredentials, match="not issued"):
        await make_tickets(b"new" * 12).verify(text)


async def test_error_of_the_store_is_not_a_bad_ticket():
    """While the secret cannot be read, a ticket is neither valid nor invalid."""

    async def read() -> bytes:
        raise OSError("the store does not answer")

    text = await issue(make_tickets())
    with pytest.raises(OSError, match="does not answer"):
        await Tickets(secret=read, clock=Clock()).verify(text)


async def test_tickets_are_all_different():
    """Two tickets of the same user have different ids and resume keys."""
    tickets = make_tickets()
    first, second = [await tickets.verify(await issue(tickets)) for _ in range(2)]

    assert first.id != second.id
    assert len(first.id) >= 22
    assert first.resume_key != second.resume_key


async def test_only_the_resume_key_matches():
    """The resume key fits into a cursor, and the ticket does not contain it."""
    text = await issue(make_tickets())
    ticket = await make_tickets().verify(text)
    other = await make_tickets().verify(await issue(make_tickets()))

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
    "signed-with-the-secret-itself": signed(CLAIMS, SECRET.decode()),
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN)
async def test_foreign_text_is_refused_and_not_quoted(text):
    """A text that was not issued with this secret is no ticket."""
    with pytest.raises(InvalidCredentials, match="not issued") as error:
        await make_tickets().verify(text)

    assert not text or text not in str(error.value)


ALTERATIONS = {
    "not-signed": lambda text: text.rpartition(".")[0] + ".",
    "changed": lambda text: text[:-2] + "AA",
}


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
async def test_altered_ticket_is_refused(alter):
    """The signature covers the whole ticket."""
    text = await issue(make_tickets())

    with pytest.raises(InvalidCredentials, match="not issued"):
        await make_tickets().verify(alter(text))


async def test_tickets_print_no_secret():
    """The `repr` of tickets shows no secret, resume key or id."""
    tickets = make_tickets()
    ticket = await tickets.verify(await issue(tickets))

    assert SECRET.decode() not in repr(tickets)
    assert ticket.resume_key not in repr(ticket)
    assert ticket.id not in repr(ticket)
