"""What the model is asked. The tags tell the parts apart, for a model and for the offline one; documents come last."""

from collections.abc import Iterable

from langchain_core.messages import AnyMessage, HumanMessage, SystemMessage

from .documents import Passage

NO_ANSWER = "The documents do not answer this question."

_SYNTHESIZE = f"""You answer a question from passages of documents, for a reader who will check every claim.
Use only what the passages say. End each sentence with the id of its passage in square brackets, such as [guide.md#2].
If the passages do not answer the question, reply with exactly: {NO_ANSWER}"""

_REVIEW = """You review a draft answer against the passages. Reply with one line, one of:
APPROVE
REVISE: what must change, when a sentence is not supported by the passage that it cites
SEARCH: other words to look for, when the passages do not hold the answer"""

_SUMMARIZE = """You condense a conversation for the assistant that will continue it. Keep names, numbers, decisions and
open questions, in at most 200 words."""


def synthesize(
    question: str, passages: Iterable[Passage], *, history: str, draft: str = "", feedback: str = ""
) -> list[AnyMessage]:
    """Ask for an answer; with `feedback`, for a better one than `draft`."""
    parts = [
        _tag("question", question),
        _tag("draft", draft),
        _tag("feedback", feedback),
        _tag("conversation", history),
        *_passages(passages),
    ]
    return _messages("synthesize", _SYNTHESIZE, parts)


def review(question: str, passages: Iterable[Passage], *, draft: str, revision: int) -> list[AnyMessage]:
    """Ask for a verdict on the draft, which has been revised `revision` times."""
    parts = [_tag("question", question), _tag("revision", str(revision)), _tag("draft", draft), *_passages(passages)]
    return _messages("review", _REVIEW, parts)


def summarize(conversation: str) -> list[AnyMessage]:
    """Ask for a summary of the conversation so far."""
    return _messages("summarize", _SUMMARIZE, [_tag("conversation", conversation)])


def _messages(task: str, instructions: str, parts: list[str]) -> list[AnyMessage]:
    body = "\n\n".join(part for part in [_tag("task", task), *parts] if part)
    return [SystemMessage(instructions), HumanMessage(body)]


def _passages(passages: Iterable[Passage]) -> list[str]:
    return [f'<passage id="{passage.id}">\n{passage.text}\n</passage>' for passage in passages]


def _tag(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>" if text else ""
