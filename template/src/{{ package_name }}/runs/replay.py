"""Going on from an earlier checkpoint, perhaps with another state there: what a run is given instead of an input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

_MARK = "$replay"  # no graph has a state of this one key


@dataclass(frozen=True)
class Replay:
    """From `checkpoint`, with `patch` applied as if `as_node` had returned it; a patch of None changes nothing."""

    checkpoint: str
    patch: Mapping[str, Any] | None = None  # Any: values of the state
    as_node: str | None = None

    def pack(self) -> dict[str, Any]:
        """Return it as the ledger keeps it. Any: as above."""
        patch = None if self.patch is None else dict(self.patch)
        return {_MARK: {"checkpoint": self.checkpoint, "patch": patch, "as_node": self.as_node}}

    @classmethod
    def unpack(cls, payload: object) -> Self | None:
        """Return a run's payload as a replay; None if it is an input."""
        if isinstance(payload, dict) and payload.keys() == {_MARK}:
            return cls(**payload[_MARK])
        return None

    async def prepare(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],  # Any: whatever state and context it has
        config: RunnableConfig,
    ) -> RunnableConfig:
        """Return the config to go on with.

        With a patch that is the one which `update_state` returns: with the old one the graph would go on from the
        state before the patch, as if there were none.
        """
        place = {**config["configurable"], "checkpoint_ns": "", "checkpoint_id": self.checkpoint}
        start: RunnableConfig = {**config, "configurable": place}
        if self.patch is None:
            return start
        made = await graph.aupdate_state(start, dict(self.patch), as_node=self.as_node)
        return {**config, "configurable": {**config["configurable"], **made["configurable"]}}
