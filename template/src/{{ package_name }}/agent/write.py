"""Writing the answer: a draft with citations, and a review that sends it back until it holds."""

import asyncio
import re
from pathlib import Path

from langgraph.runtime import Runtime

from . import prompts
from .documents import Passage, open_index
from .memory import transcript
from .model import load_model, settings_of
from .repair import whole
from .settings import AgentSettings
from .state import State

HISTORY = 6  # messages before the question that the model sees, the summary among them

_CITATION = re.compile(r"\[([^\[\]]+#\d+)\]")


async def synthesize(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Write a draft from the passages found, or rewrite it after feedback. The text streams as it is written."""
    feedback = state.get("feedback", "") if state["verdict"] == "revise" else ""
    prompt = prompts.synthesize(
        state["question"],
        await _passages(state, runtime),
        history=transcript(whole(state["messages"][:-1])[-HISTORY:]),
        draft=state.get("answer", "") if feedback else "",
        feedback=feedback,
    )
    answer = ""
    async for chunk in load_model(settings_of(runtime).model).astream(prompt):
        answer += chunk.text
        runtime.stream_writer({"text": chunk.text})
    citations = list(dict.fromkeys(_CITATION.findall(answer)))
    return {"answer": answer, "citations": citations, "revisions": state["revisions"] + bool(feedback)}


async def review(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Judge the draft: approved, revise, or search for something else."""
    passages = await _passages(state, runtime)
    prompt = prompts.review(state["question"], passages, draft=state["answer"], revision=state["revisions"])
    reply = (await load_model(settings_of(runtime).model).ainvoke(prompt)).text.strip()
    verdict, _, wish = reply.partition(":")
    match verdict.strip().upper():
        case "APPROVE":
            return {"verdict": "approved", "feedback": ""}
        case "SEARCH":
            return {"verdict": "search", "feedback": wish.strip()}
        case _:  # anything else is a wish for changes: an unclear reviewer never approves
            return {"verdict": "revise", "feedback": wish.strip() or reply}


async def _passages(state: State, runtime: Runtime[AgentSettings]) -> list[Passage]:
    settings = settings_of(runtime)
    index = await asyncio.to_thread(open_index, Path(state["docs"]), settings.data_dir)
    return await asyncio.to_thread(index.fetch, state.get("passages", []))
