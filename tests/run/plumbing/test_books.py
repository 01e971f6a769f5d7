"""The ledger's tables in memory, which are used again: nothing of one thread is there for the next."""

import pytest
from acme_agent.persistence.items import book
from acme_agent.persistence.items.book import AUDIT, Books
from acme_agent.persistence.ledger import statements as sql


def note(text: str) -> dict[str, object]:
    """Return what a line of the audit is made of."""
    return {"thread": "t", "run": "", "question": "", "kind": "noted", "actor": "me", "detail": text}


@pytest.fixture
def books() -> Books:
    """Tables whose clock stands still."""
    return Books(lambda: 0.0)


def test_tables_are_empty_when_they_are_used_again(books: Books) -> None:
    with books.one() as first:
        first.rows(sql.NOTE, note("x"))
        assert first.changed
    with books.one() as second:
        assert second is first
        assert second.all(AUDIT) == []
        assert not second.changed
        with books.one() as third, books.one(many=True) as of_many:
            assert len({first, third, of_many}) == 3
    books.close()


def test_rows_that_are_put_are_no_change(books: Books) -> None:
    with books.one() as one:
        one.rows(sql.NOTE, note("x"))
        kept = one.all(AUDIT)
    with books.one() as one:
        one.put(AUDIT, kept)
        assert not one.changed
    books.close()


def test_tables_that_have_grown_are_not_kept(books: Books) -> None:
    with books.one() as large:
        large.rows(sql.NOTE, note("x" * 4096 * book.LARGEST))
    with books.one() as other:
        assert other is not large
    books.close()


def test_tables_in_use_are_forgotten_when_they_are_free(books: Books) -> None:
    with books.one() as one:
        books.close()
        assert one.all(AUDIT) == []
    with pytest.raises(Exception, match="closed"):
        one.all(AUDIT)
