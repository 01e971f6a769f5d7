"""R06 loops end: caps that are missing, that count nothing, or that a resumed run gets anew."""

from harness import Case, assert_fails, assert_holds

REVIEWED = """            return "plan" if state["searches"] < MAX_SEARCHES else "not_found"
        case _:
            return "synthesize" if state["revisions"] < MAX_REVISIONS else "give_up"
"""
APPROVED = """            return "__end__"
        case _:
            return "synthesize" if state["revisions"] < MAX_REVISIONS else "give_up"
"""
CAP = ' if state["revisions"] < MAX_REVISIONS else "give_up"'


def test_no_cap_at_all(case: Case) -> None:
    """A defect of several templates: the reviewer alone ends the loop, or LangGraph's limit does."""
    case.replace("agent/routing.py", REVIEWED, REVIEWED.replace(CAP, ""))
    cycle = "the cycle review -> synthesize -> review has no exit that counts in the state"
    stopped = "scenario never-satisfied is stopped by the recursion limit of 24, not by a cap in the state"
    # R10 purges what has come to an end, and nothing does.
    verdicts = assert_fails(case, "R06", cycle, stopped, also={"R10"}, scenario="never-satisfied")
    assert "routing.py" in str(verdicts.checks["R06"]["problems"])


def test_a_count_that_does_not_count(case: Case) -> None:
    """The router asks, and no node adds anything: the number of revisions is always 1."""
    case.replace("agent/write.py", 'state["revisions"] + bool(feedback)', "int(bool(feedback))")
    said = ("has no exit that counts", "is stopped by the recursion limit")
    assert_fails(case, "R06", *said, also={"R10"}, scenario="never-satisfied")  # R10: as above


def test_a_count_in_memory(case: Case) -> None:
    """It ends each loop, but another process, or the next resume, begins to count anew."""
    counted = REVIEWED.replace('state["revisions"]', "len(_drafts)").replace(
        "        case _:\n", "        case _:\n            _drafts.append(1)\n"
    )
    case.replace("agent/routing.py", REVIEWED, counted)
    case.replace("agent/routing.py", "def fan_out", "_drafts: list[int] = []\n\n\ndef fan_out")
    assert_fails(case, "R06", "the cycle review -> synthesize -> review has no exit", scenario="straight-pass")


def test_a_person_who_never_approves(case: Case) -> None:
    """Every answer is a call of its own with all the supersteps of one: no limit of LangGraph's ever ends that."""
    case.replace("agent/routing.py", APPROVED, APPROVED.replace(CAP, ""))
    said = "scenario approval-with-changes never comes to an end: it still asks after 24 wishes for changes"
    assert_fails(
        case, "R06", said, "the cycle approve -> synthesize -> review -> approve", scenario="approval-with-changes"
    )


def test_a_limit_that_the_caps_just_fit(case: Case) -> None:
    """The longest scenario ends by its cap, with nothing left for a path that is longer by one error."""
    case.replace("agent/routing.py", "+ 3 * _DRAFTS + 1 + 1", "+ _DRAFTS + 1 + 1")
    said = "scenario never-satisfied takes 12 supersteps, 11 at most: 80% of the limit of 14"
    assert_fails(case, "R06", said, scenario="never-satisfied")


def test_other_ways_to_write_a_cap_hold(case: Case) -> None:
    """A near miss: a name for what is left, an early return, a function that asks, a cap in the settings' manner."""
    left = """            left = MAX_REVISIONS - state["revisions"]
            if left <= 0:
                return "give_up"
            return "synthesize"
"""
    case.replace("agent/routing.py", REVIEWED, REVIEWED.replace(f'            return "synthesize"{CAP}\n', left))
    case.replace("agent/routing.py", APPROVED, APPROVED.replace(CAP, ' if not _exhausted(state) else "give_up"'))
    asks = 'def _exhausted(state: State) -> bool:\n    return state["revisions"] >= MAX_REVISIONS\n\n\ndef fan_out'
    case.replace("agent/routing.py", "def fan_out", asks)
    assert_holds(case, "R06", scenario="approval-with-changes")


def test_a_list_of_work_holds(case: Case) -> None:
    """A near miss: no number at all, but the cycle takes an item off a list until it is empty."""
    case.replace("agent/state.py", "    answer: str\n", "    wishes: list[str]\n    answer: str\n")
    case.replace(
        "agent/write.py",
        '"revisions": state["revisions"]',
        '"wishes": state.get("wishes", ["a", "b", "c"])[1:], "revisions": state["revisions"]',
    )
    case.replace(
        "agent/routing.py", REVIEWED, REVIEWED.replace('state["revisions"] < MAX_REVISIONS', 'state["wishes"]')
    )
    assert_holds(case, "R06", scenario="straight-pass")


def test_a_node_that_gives_up_holds(case: Case) -> None:
    """A near miss: the router asks for the verdict alone, and the reviewer says no more than so often."""
    case.replace("agent/routing.py", REVIEWED, REVIEWED.replace(CAP, ""))
    case.replace("agent/routing.py", APPROVED, APPROVED.replace(CAP, ""))
    asks = "    passages = await _passages(state, runtime)\n    prompt = prompts.review("
    stops = '    if state["revisions"] >= 3:\n        return {"verdict": "approved"}\n'
    case.replace("agent/write.py", asks, stops + asks)
    assert_holds(case, "R06", scenario="straight-pass")


def test_a_guard_holds(case: Case) -> None:
    """A near miss: the cap is the guard of a case, on the state or on the number that the case is about."""
    last = f'        case _:\n            return "synthesize"{CAP}\n'
    guard = """        case _ if state["revisions"] < MAX_REVISIONS:
            return "synthesize"
        case _:
            return "give_up"
"""
    named = """        case _:
            match state["revisions"]:
                case taken if taken < MAX_REVISIONS:
                    return "synthesize"
                case _:
                    return "give_up"
"""
    case.replace("agent/routing.py", REVIEWED, REVIEWED.replace(last, guard))
    case.replace("agent/routing.py", APPROVED, APPROVED.replace(last, named))
    assert_holds(case, "R06", scenario="straight-pass")
