"""R02 state serialises: state that comes back as something else, and state that only looks so."""

from harness import Case, assert_fails, assert_holds

STATE = "class State(TypedDict, total=False):\n"
ANSWER = "    answer: str\n"
PLANNED = 'return {"searches": searches,'


def declare(case: Case, channel: str, *, imports: str = "", before: str = "") -> Case:
    """Add a channel to the state, and what its annotation needs."""
    case.replace("agent/state.py", ANSWER, f"    {channel}\n{ANSWER}")
    case.replace("agent/state.py", "from typing import Annotated", f"{imports}\nfrom typing import Annotated")
    return case.replace("agent/state.py", STATE, f"{before}\n\n{STATE}")


def test_a_tuple_that_comes_back_as_a_list(case: Case) -> None:
    """No scenario sets it: the annotation is enough. After a crash it would be no key of a dict any more."""
    declare(case, "period: tuple[int, int]")
    verdicts = assert_fails(case, "R02", "channel period: (", "list in the place of", scenario="straight-pass")
    assert verdicts.checks["R02"]["problems"][0]["file"].endswith("agent/state.py")


def test_a_model_that_nobody_named(case: Case) -> None:
    """LangGraph does not look into Sequence[...]: the run would stop when the first hit is stored."""
    hit = "@dataclass\nclass Hit:\n    page: int\n    score: float\n"
    imports = "from collections.abc import Sequence\nfrom dataclasses import dataclass"
    declare(case, "hits: Sequence[Hit]", imports=imports, before=hit)
    assert_fails(case, "R02", "channel hits:", "agent.state.Hit", "checkpoint_types", scenario="straight-pass")


def test_a_class_inside_another_one(case: Case) -> None:
    """A checkpoint names a class by its module and its own name."""
    plan = "class Plan(BaseModel):\n    class Step(BaseModel):\n        query: str\n\n    steps: list[Step] = []\n"
    declare(case, "agenda: list[Plan.Step]", imports="from pydantic import BaseModel", before=plan)
    assert_fails(case, "R02", "channel agenda:", "Plan.Step", scenario="straight-pass")


def test_handles_in_the_state(case: Case) -> None:
    """A model, a connection and a lock, one of them deep inside: none is made, each is named."""
    desk = "@dataclass\nclass Desk:\n    name: str\n    connection: sqlite3.Connection | None = None\n"
    imports = (
        "import asyncio\nimport sqlite3\nfrom dataclasses import dataclass\n"
        "from langchain_core.language_models import BaseChatModel"
    )
    channels = """chat_model: BaseChatModel
    desks: dict[str, Desk]
    links: list[sqlite3.Connection]
    lock: asyncio.Lock | None"""
    declare(case, channels, imports=imports, before=desk)
    assert_fails(
        case,
        "R02",
        "channel chat_model is for langchain_core.language_models.chat_models.BaseChatModel",
        "channel desks[].connection is for sqlite3.Connection",
        "channel links[] is for sqlite3.Connection",
        "channel lock is for asyncio.locks.Lock",
        scenario="straight-pass",
    )


def test_a_time_of_nowhere(case: Case) -> None:
    """A worker in another zone reads another instant."""
    declare(case, "asked: dict[str, datetime]", imports="from datetime import datetime")
    case.replace("agent/search.py", "import asyncio\n", "import asyncio\nfrom datetime import datetime\n")
    case.replace("agent/search.py", PLANNED, f'{PLANNED} "asked": {{"at": datetime.now()}},')
    assert_fails(case, "R02", "channel asked:", "is a datetime without a zone", scenario="straight-pass")


def test_data_of_many_kinds_comes_back(case: Case) -> None:
    """What teams keep in a state: models with rules of their own, enums, times, trees, classes that the door names."""
    kinds = """
class Grade(StrEnum):
    good = "good"
    bad = "bad"


class Source(BaseModel):
    name: str = Field(min_length=1, pattern=r"^[a-z]+$")
    grade: Grade = Grade.good
    pages: set[int] = set()
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    title: str = Field(default="", alias="Title")

    @model_validator(mode="after")
    def _is_known(self) -> "Source":
        if self.grade is Grade.bad and self.weight > 0.5:
            raise ValueError("too heavy")
        return self


class Span(NamedTuple):
    first: int
    last: int


@dataclass(frozen=True)
class Branch:
    found: datetime
    inner: list["Branch"]
    price: Decimal | None = None


class Paper(TypedDict, total=False):
    id: UUID
    parts: list["Paper"]
"""
    imports = """
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID
from pydantic import BaseModel, Field, model_validator"""
    channels = """sources: list[Source]
    spans: Sequence[Span]
    branches: dict[str, Branch]
    papers: Paper
    asked: datetime
    extra: dict[str, Any]"""
    declare(case, channels, imports=imports, before=kinds)
    case.replace("agent/turn.py", "checkpoint_types: tuple[type, ...] = ()", "checkpoint_types = (Span,)")
    settings = "from .settings import AgentSettings"
    case.replace("agent/turn.py", settings, f"{settings}\nfrom .state import Span")
    case.replace("agent/search.py", "import asyncio\n", "import asyncio\nfrom datetime import UTC, datetime\n")
    case.replace("agent/search.py", PLANNED, f'{PLANNED} "asked": datetime.now(UTC),')
    verdicts = assert_holds(case, "R02", scenario="straight-pass")
    assert verdicts.checks["R02"]["looked_at"]["values"] > 300


def test_a_client_that_is_never_stored(case: Case) -> None:
    """An untracked channel is empty in every checkpoint."""
    imports = "import sqlite3\nfrom langgraph.channels import UntrackedValue"
    declare(case, "connection: Annotated[sqlite3.Connection | None, UntrackedValue]", imports=imports)
    assert_holds(case, "R02", scenario="straight-pass")


def test_the_same_values_each_time(case: Case) -> None:
    """A verdict is no matter of luck: what is found, and the value that shows it, are the same in every run."""
    declare(case, "period: tuple[float, str]")
    said = {case.verdicts({"R02"}, scenario="straight-pass").problems("R02") for _ in range(3)}
    assert len(said) == 1
