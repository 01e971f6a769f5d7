"""The model that needs no key: it answers with the documents' own sentences and checks drafts against them."""

import re
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from .documents import Passage
from .prompts import NO_ANSWER
from .text import sentences, terms

SENTENCES = 3  # in an answer, at most
LABEL = 2  # terms; what has no more and no full stop is a label, not a sentence
SUMMARY = 1200  # characters, at most
SUPPORT = 0.75  # share of a sentence's terms that the cited passage must hold

_PASSAGE = re.compile(r'<passage id="([^"]+)">\n(.*?)\n</passage>', re.DOTALL)
_CITED = re.compile(r"(.+?)\s*\[([^\[\]]+#\d+)\]\s*", re.DOTALL)


class OfflineModel(BaseChatModel):
    """Extractive and deterministic. Its first draft cites one passage for all; its review notices."""

    @property
    def _llm_type(self) -> str:
        return "offline"

    def reply(self, prompt: str) -> str:
        """Return the reply to a prompt of `prompts`."""
        match _tagged(prompt, "task"):
            case "synthesize":
                return _synthesize(prompt)
            case "review":
                return _review(prompt)
            case "summarize":
                return _summarize(prompt)
            case task:
                raise ValueError(f"the offline model does not know the task {task!r}: set MODEL to a real model")

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # Any: the signature of BaseChatModel
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.reply(messages[-1].text)))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # Any: as above
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in re.findall(r"\S+\s*", self.reply(messages[-1].text)):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def _synthesize(prompt: str) -> str:
    chosen = _choose(_candidates(prompt), terms(_tagged(prompt, "question")))
    if not chosen:
        return NO_ANSWER
    if _tagged(prompt, "feedback"):
        return " ".join(f"{sentence} [{id_}]" for sentence, id_ in chosen)
    return " ".join(f"{sentence} [{chosen[0][1]}]" for sentence, _ in chosen)


def _choose(candidates: list[tuple[str, str]], wanted: frozenset[str]) -> list[tuple[str, str]]:
    """Return the sentences that together hold most of the wanted terms: each adds one that those before it lack."""
    chosen: list[tuple[str, str]] = []
    missing = wanted
    while candidates and len(chosen) < SENTENCES:
        best = max(
            candidates,
            key=lambda found: (len(missing & terms(found[0])), len(wanted & terms(found[0])), -len(found[0])),
        )
        if not missing & terms(best[0]):
            break
        chosen.append(best)
        candidates = [found for found in candidates if found != best]
        missing -= terms(best[0])
    return chosen


def _candidates(prompt: str) -> list[tuple[str, str]]:
    """Return the passages' sentences, each with its passage's id."""
    found = {text: passage.id for passage in reversed(_passages(prompt)) for text in sentences(passage.text)}
    return [(text, id_) for text, id_ in reversed(found.items()) if text[-1] in ".!?" or len(terms(text)) > LABEL]


def _review(prompt: str) -> str:
    draft = _tagged(prompt, "draft")
    if draft == NO_ANSWER:
        return f"SEARCH: {_tagged(prompt, 'question')}"
    texts = {passage.id: terms(passage.text) for passage in _passages(prompt)}
    cited = _CITED.findall(draft)
    if not cited:
        return "REVISE: no sentence cites a passage"
    for sentence, id_ in cited:
        said = terms(sentence)
        if len(said & texts.get(id_, frozenset())) < SUPPORT * len(said):
            return f"REVISE: [{id_}] does not support this sentence: {sentence.strip()}"
    return "APPROVE"


def _summarize(prompt: str) -> str:
    lines = _tagged(prompt, "conversation").splitlines()
    kept = [parts[0] for parts in (sentences(line) for line in lines) if parts]
    return "Earlier in this conversation: " + " ".join(kept)[:SUMMARY]


def _passages(prompt: str) -> list[Passage]:
    return [Passage(id_, text) for id_, text in _PASSAGE.findall(prompt)]


def _tagged(prompt: str, name: str) -> str:
    found = re.search(rf"<{name}>\n(.*?)\n</{name}>", prompt, re.DOTALL)
    return found.group(1) if found else ""
