"""R15 secrets: a key in the state, in a log line, in an error, in a trace; and inputs that are secret."""

from harness import Case, assert_fails, assert_holds

DELIVERS = 'crash right after it cannot double it."""\n'
DELIVERED = 'return {"messages": [AIMessage(state["answer"])]}\n\n\nasync def not_found'
KEY = "settings_of(runtime).crm_credentials.get_secret_value()"


def with_setting(
    case: Case, line: str = 'crm_credentials: SecretStr = SecretStr("")', imports: str = "SecretStr"
) -> Case:
    """Add a setting."""
    case.replace("agent/settings.py", "import Field\n", f"import Field, {imports}\n")
    case.replace(
        "agent/settings.py", '    model: str = Field("offline"', f'    {line}\n    model: str = Field("offline"'
    )
    return case


def in_deliver(case: Case, code: str) -> Case:
    """Let the node `deliver` begin with some code."""
    return case.replace("agent/finish.py", DELIVERS, f"{DELIVERS}    {code}\n")


def with_input(case: Case, annotation: str) -> Case:
    """Let the scenarios have a secret input, which the node `plan` uses."""
    case.replace("agent/state.py", "    # Output.\n", f"    token: {annotation}  # of the caller\n\n    # Output.\n")
    case.replace("agent/state.py", "import Annotated", "import Annotated, Any")
    case.replace(
        "agent/state.py", "from langchain_core", "from langgraph.channels import UntrackedValue\nfrom langchain_core"
    )
    inputs = '"messages": [*earlier, *first["messages"]]'
    case.replace("agent/offline_scenarios.py", inputs, f'{inputs}, "token": "bearer-4711-0815"')
    case.replace(
        "agent/offline_scenarios.py",
        "        settings=settings,\n",
        '        settings=settings,\n        secrets=("token",),\n',
    )
    return case


def test_a_key_in_the_state(case: Case) -> None:
    with_setting(case)
    case.replace("agent/finish.py", DELIVERED, DELIVERED.replace('AIMessage(state["answer"])', f"AIMessage({KEY})"))
    said = "the setting crm_credentials is in the checkpoint: channel messages, by deliver"
    verdicts = assert_fails(case, "R15", said, scenario="straight-pass")
    assert any(problem["file"].endswith("agent/finish.py") for problem in verdicts.checks["R15"]["problems"])


def test_a_key_in_a_log_line(case: Case) -> None:
    in_deliver(with_setting(case), f'logger.debug("delivers with %s", {KEY})')
    said = ("the setting crm_credentials is in the log: ", "delivers with ...")
    assert_fails(case, "R15", *said, scenario="straight-pass")


def test_a_key_in_an_error(case: Case) -> None:
    case.replace("agent/graph.py", "        error_handler=finish.failed,\n", "")
    in_deliver(with_setting(case), f'raise PermissionError(f"401 for {{{KEY}}}")')
    said = (
        "the setting crm_credentials is in the error: PermissionError",
        "the setting crm_credentials is in the checkpoint: channel __error__, by deliver",
    )
    assert_fails(case, "R15", *said, also={"R10"}, scenario="straight-pass")  # R10: nothing ends, so nothing is purged


def test_a_key_in_the_metadata_of_a_run(case: Case) -> None:
    """LangGraph stores the metadata with every checkpoint, hands it to tracers, and our log lines have it."""
    line = "        async with self._keeper.keeping(run) as held:\n"
    key = "self._settings.crm_credentials.get_secret_value()"
    with_setting(case).replace("runs/execution.py", line, f'        config["metadata"]["crm"] = {key}\n{line}')
    where = ("in the trace: metadata of LangGraph", "in the database file, outside the checkpoints", "in the log: ")
    said = (f"the setting crm_credentials is {each}" for each in where)
    assert_fails(case, "R15", *said, scenario="straight-pass")


def test_a_key_that_is_a_plain_text(case: Case) -> None:
    with_setting(case, 'crm_api_key: str = ""', "AliasChoices")
    assert_fails(
        case, "R15", "AgentSettings.crm_api_key is named like a secret and is a plain str", scenario="straight-pass"
    )


def test_a_key_that_no_scenario_has_a_value_for(case: Case) -> None:
    with_setting(case, 'crm_credentials: SecretStr = Field(SecretStr(""), max_length=12)')
    assert_fails(case, "R15", "the setting crm_credentials refuses a canary", scenario="straight-pass")


def test_an_error_that_repeats_the_url(case: Case) -> None:
    case.replace("persistence/urls.py", 'f"starts with {shown}; this project', 'f"is {text}: {shown}; this project')
    said = "BadDatabaseUrl repeats the password of mysql://agent:...@host/x"
    assert_fails(case, "R15", said, scenario="straight-pass")


def test_a_secret_input_in_the_state(case: Case) -> None:
    with_input(case, "str")
    assert_fails(case, "R15", "the input token is in the checkpoint: channel token", scenario="straight-pass")


def test_a_secret_input_that_no_superstep_stores(case: Case) -> None:
    with_input(case, "Annotated[str, UntrackedValue]")
    case.replace(
        "agent/search.py",
        '    searches = state["searches"] + 1\n',
        '    searches = state["searches"] + bool(state["token"])\n',
    )
    assert_holds(case, "R15", scenario="straight-pass")


def test_keys_that_are_used_and_not_shown(case: Case) -> None:
    """One of them is checked for its form, so the scenario has a value for it; another is a variable, blanked out."""
    with_setting(case, 'crm_credentials: SecretStr = Field(SecretStr(""), max_length=12)')
    case.replace(
        "agent/offline_scenarios.py",
        '{"docs": EXAMPLES,',
        '{"docs": EXAMPLES, "crm_credentials": SecretStr("crm-12345678"),',
    )
    case.replace(
        "agent/offline_scenarios.py", "from langchain_core", "from pydantic import SecretStr\nfrom langchain_core"
    )
    case.replace("agent/finish.py", "import asyncio\n", "import asyncio\nimport hashlib\nimport os\n")
    digest = f"hashlib.sha256({KEY}.encode()).hexdigest()"
    secrets = f'settings_of(runtime), {digest}, os.environ.get("CRM_TOKEN")'
    in_deliver(case, f'logger.warning("delivers with %r, %s, CRM_TOKEN=%s", {secrets})')
    assert_holds(case, "R15", scenario="straight-pass")
