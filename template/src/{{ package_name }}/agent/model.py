"""Which model answers, and how its tokens are counted."""

import asyncio
import logging
from collections.abc import Sequence
from functools import cache
from typing import cast

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import AnyMessage
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.runtime import Runtime

from ..errors import ProjectError
from .offline import OfflineModel
from .settings import AgentSettings

logger = logging.getLogger(__name__)


class BadModel(ProjectError):
    """MODEL names something that cannot be used."""


def settings_of(runtime: Runtime[AgentSettings]) -> AgentSettings:
    """Return the run's settings; a caller that gave no context, such as LangGraph Studio, gets the environment's."""
    return cast("AgentSettings | None", runtime.context) or AgentSettings()


@cache
def load_model(name: str) -> BaseChatModel:
    """Return the chat model called `name`: 'offline', 'scripted:<scenario>', or provider:model for init_chat_model.

    Raises BadModel when the provider's package or key is missing, or the name is not known.
    """
    if name == "offline":
        return OfflineModel()
    if name.startswith("scripted:"):
        from .offline_scenarios import script

        return script(name.removeprefix("scripted:"))
    try:
        model: BaseChatModel = init_chat_model(name)
    except Exception as error:  # each provider raises its own type for a missing key
        reason = str(error).splitlines()[0]
        raise BadModel(f"cannot use MODEL={name}: {reason}. Set its API key, or MODEL=offline") from error
    return model


async def count_tokens(model: BaseChatModel, messages: Sequence[AnyMessage]) -> int:
    """Return the messages' tokens by the model's own counter, approximately when it has none or it fails."""
    if type(model).get_num_tokens_from_messages is BaseLanguageModel.get_num_tokens_from_messages:
        return count_tokens_approximately(messages)
    try:
        return await asyncio.to_thread(model.get_num_tokens_from_messages, list(messages))
    except Exception as error:  # noqa: BLE001 - counters fetch tables or ask a server; counting must not end a run
        logger.warning("counting tokens approximately: the model's counter failed (%s)", type(error).__name__)
        return count_tokens_approximately(messages)
