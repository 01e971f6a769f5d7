"""Reducers: how the writes of parallel branches become one value. Each must not care which branch comes first."""


def union(left: list[str], right: list[str]) -> list[str]:
    """Return both lists' items, each once, in the order of first appearance: no branch can overwrite another's."""
    return list(dict.fromkeys([*left, *right]))


def join_failures(left: str, right: str) -> str:
    """Return both texts, a line each, sorted: several branches can fail in one superstep, in any order."""
    return "\n".join(sorted({*left.splitlines(), *right.splitlines()}))
