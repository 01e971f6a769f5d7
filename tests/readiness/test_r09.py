"""R09: effects that an answer or a retry repeats; and what only looks like one."""

from harness import Case, assert_fails, assert_holds

QUICK = "straight-pass"
TELL = "    await tell_approver(settings_of(runtime).data_dir, key, f\"Please approve: {state['question']}\")\n"
PUBLISH = (
    '    key = idempotency_key(runtime.execution_info, "publish")\n'
    "    await asyncio.to_thread(publish, settings_of(runtime).data_dir, key,"
    ' state["question"], state["answer"])\n'
)
ONCE = "        retry_policy=RetryPolicy(max_attempts=4, initial_interval=1.0, retry_on=is_transient),\n"
HTTP = "import httpx\nfrom langchain_core.messages import AIMessage\n"


def patched(case: Case, old: str, new: str) -> Case:
    """Change a node; httpx is there for it."""
    case.replace("agent/finish.py", "from langchain_core.messages import AIMessage\n", HTTP)
    return case.replace("agent/finish.py", old, new)


def test_a_mail_before_the_question(case: Case) -> None:
    """In a function that the node calls, behind a branch, in a graph that is never tried again."""
    case.write(
        "agent/mail.py",
        "import smtplib\nfrom email.message import EmailMessage\n\n\n"
        "class Mailer:\n    def __init__(self, host: str) -> None:\n        self.host = host\n\n"
        "    def tell(self, text: str) -> None:\n"
        "        message = EmailMessage()\n        message.set_content(text)\n"
        "        with smtplib.SMTP(self.host) as server:\n            server.send_message(message)\n",
    )
    case.replace("agent/graph.py", ONCE, "").replace("agent/graph.py", "from langgraph.types import RetryPolicy\n", "")
    case.replace("agent/finish.py", "from .model import", "from .mail import Mailer\nfrom .model import")
    mail = '    mailer = Mailer("mail")\n    if not state["docs"]:\n        await asyncio.to_thread(mailer.tell, "x")\n'
    case.replace("agent/finish.py", TELL, mail)
    verdicts = assert_fails(
        case, "R09", "node approve: smtplib.SMTP.send_message comes before interrupt() without a key", scenario=QUICK
    )
    assert verdicts.checks["R09"]["problems"][0]["file"].endswith("agent/mail.py")


def test_a_request_without_its_key_where_a_node_is_tried_again(case: Case) -> None:
    """The key is taken, and does not go along; another one is new each time."""
    request = (
        '    key = idempotency_key(runtime.execution_info, "publish")\n'
        "    logger.info('publishing %s', key)\n"
        "    if state['searches'] > 5:\n"
        "        async with httpx.AsyncClient() as client:\n"
        '            await client.post("https://example.org/answers", json={"answer": state["answer"]})\n'
        "        chosen = str(uuid4())\n"
        '        await asyncio.to_thread(httpx.put, "https://example.org", headers={"Idempotency-Key": chosen})\n'
    )
    patched(case, PUBLISH, request).replace(
        "agent/finish.py", "import httpx\n", "from uuid import uuid4\nimport httpx\n"
    )
    assert_fails(
        case,
        "R09",
        "node deliver is tried again, and httpx.AsyncClient.post has no key",
        "node deliver is tried again, and httpx.put has no key",
        scenario=QUICK,
    )


def test_rows_files_and_a_second_round(case: Case) -> None:
    """An insert, a counter and a file in a node that is tried again; an effect before the next round's question."""
    case.write(
        "agent/outbox.py",
        (case.package / "agent/outbox.py").read_text() + "\n\nADD = 'insert into published (question) values (?)'\n\n\n"
        "def more(data_dir: Path, question: str) -> None:\n"
        "    with closing(_connect(data_dir)) as connection, connection:\n"
        "        connection.execute(ADD, (question,))\n"
        '        connection.execute("update published set answer = answer + 1")\n'
        "    with open(data_dir / 'log', 'a') as log:\n        log.write(question)\n",
    )
    case.replace("agent/finish.py", "import notify, publish", "import more, notify, publish")
    case.replace(
        "agent/finish.py",
        PUBLISH,
        PUBLISH + "    if state['searches'] > 5:\n        more(settings_of(runtime).data_dir, '')\n",
    )
    case.replace(
        "agent/finish.py",
        "    match str(reply)",
        "    while state['searches'] > 5:\n"
        "        reply = interrupt('?', response_schema={'type': 'string'})\n"
        "        settings_of(runtime).session.post(reply)\n"
        "    match str(reply)",
    )
    assert_fails(
        case,
        "R09",
        "sqlite3.Connection.execute('insert into published (question) values",
        "sqlite3.Connection.execute('update published set answer",
        "open has no key",
        "node approve: settings_of(runtime).session.post comes before interrupt()",
        also={"R12"},  # a file and a database in the event loop
        scenario=QUICK,
    )


def test_what_an_orm_commits(case: Case) -> None:
    """No statement is to be seen, but what was added is written a second time."""
    added = (
        "    if state['searches'] > 5:\n"
        "        session = settings_of(runtime).session\n"
        "        session.add(state['answer'])\n"
        "        await session.commit()\n"
    )
    patched(case, PUBLISH, PUBLISH + added)
    assert_fails(case, "R09", "node deliver is tried again, and session.commit has no key", scenario=QUICK)


def test_reads_and_effects_that_have_keys(case: Case) -> None:
    """Innocent: a GET, an effect in a @task, a key in headers that have a name, a key that a function is handed."""
    case.replace("agent/finish.py", "logger = logging", "CLIENT = httpx.AsyncClient()\nlogger = logging")
    case.replace(
        "agent/finish.py",
        "@task\nasync def tell",
        "async def send(url: str, *, token: str, **body: str) -> None:\n"
        "    if token not in body:\n        await CLIENT.put(url, json=body)\n\n\n"
        "@task\nasync def ring(url: str) -> None:\n    await CLIENT.post(url)\n\n\n@task\nasync def tell",
    )
    patched(
        case,
        TELL,
        TELL + "    if state['searches'] > 5:\n"
        '        await CLIENT.get("https://example.org")\n'
        '        await CLIENT.request("GET", "https://example.org")\n'
        '        await ring("https://example.org")\n'
        '        headers = {"Accept": "*/*"}\n        headers["Idempotency-Key"] = key\n'
        '        await CLIENT.post("https://example.org", headers=headers)\n'
        '        await send("https://example.org", token=f"approve-{key}")\n'
        '        await CLIENT.post("https://example.org", headers={"Idempotency-Key": state["question"]})\n',
    )
    assert_holds(case, "R09", scenario=QUICK)


def test_effects_that_no_question_follows(case: Case) -> None:
    """Innocent in a graph that is not tried again: behind the question, and on a way that ends before it."""
    case.replace("agent/graph.py", ONCE, "").replace("agent/graph.py", "from langgraph.types import RetryPolicy\n", "")
    early = (
        "    if state['searches'] > 5:\n"
        "        async with httpx.AsyncClient() as client:\n"
        '            await client.post("https://example.org")\n'
        "        return {'verdict': 'approved'}\n"
    )
    patched(case, TELL, TELL + early)
    case.replace("agent/finish.py", "    match str(reply)", early + "    match str(reply)")
    assert_holds(case, "R09", scenario=QUICK)


def test_statements_that_can_be_executed_twice(case: Case) -> None:
    """Innocent: a select, an upsert, a commit of those, a temporary file, a file that is read."""
    case.write(
        "agent/outbox.py",
        (case.package / "agent/outbox.py").read_text() + "\n\ndef more(data_dir: Path, question: str) -> None:\n"
        "    connection = _connect(data_dir)\n"
        "    connection.execute('select answer from published where question = ?', (question,))\n"
        "    connection.execute('insert into published values (?, 1, 2) on conflict do nothing', (question,))\n"
        "    connection.commit()\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        (Path(folder) / 'x').write_text(question)\n"
        "    open(data_dir / 'outbox.db', 'rb').close()\n",
    )
    case.replace("agent/outbox.py", "import sqlite3\n", "import sqlite3\nimport tempfile\n")
    case.replace("agent/finish.py", "import notify, publish", "import more, notify, publish")
    call = "    if state['searches'] > 5:\n        await asyncio.to_thread(more, settings_of(runtime).data_dir, '')\n"
    case.replace("agent/finish.py", TELL, TELL + call)
    assert_holds(case, "R09", scenario=QUICK)
