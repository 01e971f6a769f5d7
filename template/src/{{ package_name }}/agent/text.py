"""Words and sentences, as the search, the ranking and the offline model see them."""

import re

_WORD = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[`*]*[^\W\d_a-z])|\n\s*\n|\n(?=\s*[-*|#>]|\s*\d+\.\s)")
_STEM = 5  # characters, a final "s" aside: "resume", "resumes" and "resuming" share them; crude, but no dependency
_STOP = frozenset(
    """
    a about all also an and any are as at be been before but by can could did do does for from had has have how
    i if in into is it its may me more my no not of on one or our out should so some than that the their them
    then there these they this to up us was we were what when where which who why will with would you your
    """.split()
)


def terms(text: str) -> frozenset[str]:
    """Return the stems of the text's meaningful words."""
    return frozenset((word.rstrip("s") or word)[:_STEM] for word in words(text))


def words(text: str) -> list[str]:
    """Return the text's meaningful words, lower-cased, each once, in order."""
    return list(dict.fromkeys(word for word in _WORD.findall(text.lower()) if word not in _STOP))


def sentences(text: str) -> list[str]:
    """Return the text's sentences, list items and table rows, white space folded; headings and code fences left out."""
    parts = (" ".join(part.split()) for part in _SENTENCE.split(text))
    return [part for part in parts if _WORD.search(part) and not part.startswith(("#", "```", "|--", "| --"))]
