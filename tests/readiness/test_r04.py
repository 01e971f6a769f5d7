"""R04 reducers: what gets lost between nodes, branches and turns, and what only looks so."""

from harness import Case, assert_fails, assert_holds

ANSWER = "    answer: str\n"
FOUND = 'return {"passages": ranked["kept"]}'
APPROVED = 'return {"verdict": "approved", "feedback": ""}'
DRAFTED = 'return {"answer": answer, "citations": citations,'

REPLACED = "def replaced(left: list[str], right: list[str]) -> list[str]:\n    return right\n\n\n"


def declare(case: Case, channel: str, *, imports: str = "") -> Case:
    """Add a channel to the state, and what its annotation needs."""
    case.replace("agent/state.py", ANSWER, f"    {channel}\n{ANSWER}")
    return case.replace("agent/state.py", "from typing import Annotated", f"{imports}\nfrom typing import Annotated")


def test_two_nodes_write_one_list(case: Case) -> None:
    """The reviewer's note replaces the writer's."""
    declare(case, "notes: list[str]")
    case.replace("agent/write.py", DRAFTED, f'{DRAFTED} "notes": ["drafted"],')
    case.replace("agent/write.py", APPROVED, 'return {"verdict": "approved", "feedback": "", "notes": ["approved"]}')
    verdicts = assert_fails(case, "R04", "channel notes, a list", "nodes review, synthesize", scenario="straight-pass")
    assert verdicts.checks["R04"]["problems"][0]["file"].endswith("agent/state.py")


def test_a_path_that_no_scenario_takes(case: Case) -> None:
    """What is written there is read in the code, in the forms that code has."""
    declare(case, "notes: dict[str, str]")
    case.replace("agent/write.py", DRAFTED, f'{DRAFTED} "notes": {{"draft": "done"}},')
    odd = 'if state["docs"] == "nowhere":\n        return update\n    '
    one, other = 'failure = f"not approved', 'return {"verdict": "not_found"'
    literal = 'update: State = {"notes": {"end": "no"}}'
    later = 'update: State = {}\n    update["notes"] = {"end": "no"}'
    case.replace("agent/finish.py", one, f"{literal}\n    {odd}{one}")
    case.replace("agent/finish.py", other, f"{later}\n    {odd}{other}")
    nodes = "nodes give_up, not_found, synthesize"
    assert_fails(case, "R04", "channel notes, a dict", nodes, scenario="straight-pass")


def test_the_second_turn_forgets_the_first(case: Case) -> None:
    """A list of messages without a reducer, as a published template has it: one node writes it, and the input."""
    declare(case, "dialogue: list[AnyMessage]")
    asked, told = '"question": question,', 'return {"messages": [AIMessage(state["answer"])]'
    case.replace("agent/turn.py", asked, f'{asked} "dialogue": [HumanMessage(question)],')
    case.replace("agent/finish.py", told, f'{told}, "dialogue": [*state["dialogue"], AIMessage(state["answer"])]')
    assert_fails(case, "R04", "channel dialogue, a list of messages", "forgets the first", scenario="straight-pass")


def test_branches_without_a_reducer(case: Case) -> None:
    """One branch in every scenario that is played, but the edge can make more: then LangGraph fails the run."""
    declare(case, "hits: int")
    case.replace("agent/search.py", FOUND, 'return {"passages": ranked["kept"], "hits": len(ranked["kept"])}')
    assert_fails(case, "R04", "channel hits has no reducer", "node search", scenario="straight-pass")


def test_the_last_branch_wins(case: Case) -> None:
    """A reducer that keeps one branch's findings."""
    declare(case, "best: Annotated[dict[str, str], keep_last]", imports="from .reducers import keep_last")
    case.replace(
        "agent/reducers.py",
        "def join_failures",
        "def keep_last(left: dict[str, str], right: dict[str, str]) -> dict[str, str]:\n"
        "    return {**left, **right}\n\n\ndef join_failures",
    )
    case.replace("agent/search.py", FOUND, 'return {"passages": ranked["kept"], "best": {"query": state["query"]}}')
    assert_fails(case, "R04", "channel best:", "in one order", "in another", scenario="search-again")


def test_joined_in_every_way(case: Case) -> None:
    """Lists joined end to end, dicts with keys of their own, sums of floats: no branch is lost in any order."""
    channels = """found: Annotated[list[str], operator.add]
    by_query: Annotated[dict[str, int], operator.or_]
    weight: Annotated[float, operator.add]"""
    declare(case, channels, imports="import operator")
    case.replace(
        "agent/turn.py", '"citations": [],', '"citations": [], "found": Overwrite([]), "by_query": Overwrite({}),'
    )
    written = '"found": [state["query"]], "by_query": {state["query"]: 1}, "weight": 0.1 * len(state["query"])'
    case.replace("agent/search.py", FOUND, f'return {{"passages": ranked["kept"], {written}}}')
    verdicts = assert_holds(case, "R04", scenario="search-again")
    assert verdicts.checks["R04"]["looked_at"]["parallel writes"] >= 8


def test_written_by_one_and_emptied_by_others(case: Case) -> None:
    """One writer, others that clear it; text that two nodes write; a whole that two replace, and the state says so."""
    channels = """notes: list[str]
    stage: str
    plan: Annotated[list[str], replaced]"""
    declare(case, channels, imports="from .reducers import replaced")
    case.replace(
        "agent/reducers.py",
        "def join_failures",
        f"{REPLACED}def join_failures",
    )
    case.replace("agent/write.py", DRAFTED, f'{DRAFTED} "notes": ["drafted"], "stage": "draft", "plan": ["review"],')
    case.replace(
        "agent/write.py",
        APPROVED,
        'return {"verdict": "approved", "feedback": "", "notes": [], "stage": "done", "plan": ["deliver"]}',
    )
    case.replace("agent/finish.py", '"citations": [],', '"citations": [], "notes": state.get("notes", []),')
    assert_holds(case, "R04", scenario="straight-pass")


def test_a_subgraph_that_gives_back_what_it_was_given(case: Case) -> None:
    """A sub-graph returns every channel that it shares with its parent, changed or not."""
    declare(case, "notes: list[str]")
    case.replace("agent/write.py", DRAFTED, f'{DRAFTED} "notes": ["drafted"],')
    case.replace(
        "agent/graph.py",
        'graph.add_node("collect", search.collect)',
        'graph.add_node("collect", search.collect)\n    graph.add_node("polish", _polish())',
    )
    case.replace(
        "agent/graph.py",
        'graph.add_edge("synthesize", "review")',
        'graph.add_edge("synthesize", "polish")\n    graph.add_edge("polish", "review")',
    )
    case.replace(
        "agent/graph.py",
        "def build_graph()",
        """def _polish():
    async def tidy(state: State) -> State:
        return {"answer": state["answer"].strip()}

    inner = StateGraph(State).add_node("tidy", tidy).add_edge(START, "tidy").add_edge("tidy", END)
    return inner.compile()


def build_graph()""",
    )
    assert_holds(case, "R04", scenario="straight-pass")
