"""R16 deployment: files and code that do not fit the database, and some that only look like it."""

from harness import Case, assert_fails, assert_holds

API = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: acme-agent-api
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: api}}
  template:
    metadata:
      labels: {{app: api}}
    spec:
      containers:
        - name: api
          image: registry.internal/acme-agent:1.0
          envFrom:
            - secretRef:
                name: acme-agent
          env:
            - name: DATABASE_POOL_MAX
              value: "{pool}"
          readinessProbe:
            {probe}
"""
READY = "httpGet: {path: /ready, port: 8000}"

HEALTH = '''"""The routes that say how the service is."""

import contextlib

from .service import app, probe


@app.get("/health")
async def health():
    """Say how the service is."""
{body}
'''
SUPPRESSES = """    with contextlib.suppress(Exception):
        await probe()
    return {"checkpointer": "connected"}"""
TELLS = """    connected = False
    with contextlib.suppress(Exception):
        await probe()
        connected = True
    return {"checkpointer": connected}


@app.get("/ready")
async def ready(response):
    \"\"\"Say whether the service can be used.\"\"\"
    try:
        await probe()
    except OSError:
        response.status_code = 503
        return {"ready": False}
    return {"ready": True}"""


def deploy(case: Case, name: str, text: str) -> Case:
    """Add a deployment file to a case."""
    file = case.folder / "deploy" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return case


def test_secrets_in_the_source(case: Case) -> None:
    case.replace("agent/settings.py", "from pydantic import Field", "from pydantic import Field, SecretStr")
    case.replace(
        "agent/settings.py",
        "    model: str",
        '    jwt_secret: SecretStr = SecretStr("change-me")\n    crm_api_key: str = "demo"\n    model: str',
    )
    said = ("JWT_SECRET has a default", "CRM_API_KEY has a default")
    found = assert_fails(case, "R16", *said, also={"R15"}, scenario="straight-pass")  # R15: the key is a plain text
    assert "change-me" not in found.problems("R16")


def test_a_pool_of_one_and_a_probe_that_cannot_fail(postgres_case: Case) -> None:
    """The default of a template that was read: all requests of a process wait for one connection."""
    deploy(postgres_case, "api.yaml", API.format(replicas=2, pool=1, probe='exec: {command: [sh, -c, "exit 0"]}'))
    assert_fails(
        postgres_case,
        "R16",
        "Deployment acme-agent-api, container api: ENVIRONMENT=production refuses DATABASE_POOL_MAX=1",
        "readinessProbe cannot fail: sh -c exit 0",
        scenario="straight-pass",
    )


def test_more_replicas_than_the_database_takes(postgres_case: Case) -> None:
    """The autoscaler's maximum counts, KEDA's own one where none is written; and two programs share the server."""
    deploy(postgres_case, "api.yaml", API.format(replicas=2, pool=10, probe=READY))
    deploy(
        postgres_case,
        "scale.yaml",
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: api}\n"
        "spec: {scaleTargetRef: {name: acme-agent-api}}\n",
    )
    jobs = API.format(replicas=7, pool=10, probe=READY).replace("acme-agent-api", "acme-agent-jobs")
    deploy(postgres_case, "jobs.yaml", jobs)
    assert_fails(
        postgres_case,
        "R16",
        "1000 connections, REPLICAS=100 times DATABASE_POOL_MAX=10",
        "all together take 1070 connections, 1000 of acme-agent-api + 70 of acme-agent-jobs",
        scenario="straight-pass",
    )


def test_a_deployment_without_a_migration(postgres_case: Case) -> None:
    """Nothing but a README says that it is to be run; and .env.example has a URL that KEDA refuses."""
    (postgres_case.folder / "deploy" / "migrate-job.yaml").unlink()
    deploy(postgres_case, "api.yaml", API.format(replicas=2, pool=10, probe="tcpSocket: {port: 8000}"))
    example = postgres_case.folder / ".env.example"
    example.write_text(example.read_text().replace("# DATABASE_URL=postgresql:", "# DATABASE_URL=postgresql+psycopg:"))
    assert_fails(
        postgres_case,
        "R16",
        "Deployment acme-agent-api, container api is deployed, and no job",
        "readinessProbe opens a socket, and reads no database",
        "a URL begins with postgresql+psycopg://",
        scenario="straight-pass",
    )


def test_default_passwords_in_compose(postgres_case: Case) -> None:
    """Its services are for development only where they say so."""
    file = postgres_case.folder / "compose.yaml"
    file.write_text(file.read_text().replace("ENVIRONMENT: development", "LOG_FORMAT: json"))
    assert_fails(
        postgres_case,
        "R16",
        "compose app: ENVIRONMENT=production refuses the password in DATABASE_URL",
        scenario="straight-pass",
    )


def test_a_health_route_that_suppresses_everything(case: Case) -> None:
    """The checkpointer is always reported as connected."""
    case.write("health.py", HEALTH.format(body=SUPPRESSES))
    assert_fails(case, "R16", "health suppresses Exception and then says the same", scenario="straight-pass")


def test_a_ready_route_that_looks_at_nothing(postgres_case: Case) -> None:
    """A liveness route may, but the deployment asks this one whether the program is ready."""
    deploy(postgres_case, "api.yaml", API.format(replicas=2, pool=10, probe=READY.replace("/ready", "/health")))
    postgres_case.write("health.py", HEALTH.format(body='    return {"status": "ok"}'))
    assert_fails(
        postgres_case, "R16", "health says that it is ready without a look at anything", scenario="straight-pass"
    )


def test_set_up_on_the_request_path(case: Case) -> None:
    """A connection and a set-up for each request."""
    case.write(
        "service.py",
        '"""The service."""\n\nfrom langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver\n\n'
        "from .agent import build_graph\nfrom .persistence import migrate\n\n\n"
        'async def chat(url, question, thread):\n    """Answer."""\n    await migrate(url)\n'
        "    async with AsyncSqliteSaver.from_conn_string(url) as memory:\n        await memory.setup()\n"
        "        return build_graph().compile(checkpointer=memory)\n",
    )
    assert_fails(case, "R16", "calls memory.setup() on the way", "calls migrate() on the way", scenario="straight-pass")


def test_a_deployment_that_fits(postgres_case: Case) -> None:
    """Probes that tell the truth, a pool with room, another program with many replicas, a chart with templates."""
    deploy(postgres_case, "api.yaml", API.format(replicas=5, pool=15, probe=READY))
    deploy(
        postgres_case,
        "web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
        "spec: {replicas: 90, template: {spec: {containers: [{name: web, image: nginx}]}}}\n",
    )
    deploy(postgres_case, "chart.yaml", "{{- if .Values.api }}\nkind: Deployment\n{{- end }}\n")
    postgres_case.write("health.py", HEALTH.format(body=TELLS))
    found = assert_holds(postgres_case, "R16", scenario="straight-pass")
    assert found.checks["R16"]["looked_at"]["probes"] > 3


def test_code_that_sets_up_something_else(case: Case) -> None:
    """Other set-ups, a command that migrates, a name that holds no secret, one that has no default."""
    case.replace("agent/settings.py", "from pydantic import Field", "from pydantic import Field, SecretStr")
    case.replace(
        "agent/settings.py",
        "    model: str",
        '    crm_token: SecretStr = SecretStr("")\n    cache_key: str = "answers"\n    model: str',
    )
    case.write(
        "service.py",
        '"""The service."""\n\nimport asyncio\n\nimport typer\n\nfrom . import persistence, telemetry\n\n'
        "app = typer.Typer()\ntelemetry.setup()\n\n\n@app.command()\ndef migrate_all(urls: list[str]) -> None:\n"
        '    """Migrate each of them."""\n    for url in urls:\n        asyncio.run(persistence.migrate(url))\n',
    )
    assert_holds(case, "R16", scenario="straight-pass")
