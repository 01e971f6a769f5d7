"""The offline model with some replies written down, for scenarios.

A reply depends on the prompt alone, never on how many came before: a resumed run gets what it would have got.
"""

import re
from dataclasses import dataclass

from .offline import OfflineModel


@dataclass(frozen=True)
class Reply:
    """The reply to prompts of a task that match the regular expression `when` (default: all of them)."""

    task: str
    text: str
    when: str = ""


class ScriptedModel(OfflineModel):
    """Gives the first reply that fits the prompt, else the offline model's own."""

    replies: tuple[Reply, ...] = ()

    def reply(self, prompt: str) -> str:
        """Return the written reply, else the offline one."""
        for reply in self.replies:
            if f"<task>\n{reply.task}\n" in prompt and re.search(reply.when, prompt):
                return reply.text
        return super().reply(prompt)
