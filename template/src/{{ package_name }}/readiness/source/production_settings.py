"""What the team's settings say to ENVIRONMENT=production: of values that may serve, and of those that must not."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ...agent import AgentSettings, scenarios
from ...errors import ProjectError
from ...persistence.urls import backends, normalise
from ...production import default_secrets
from ...settings import problems_of

BACKEND = backends()[-1]  # the project's for production
FILE = "sqlite:////var/lib/agent/threads.db"
PASSWORD = "Yw3k8ZpQ1"
_SERVER = f"role:{PASSWORD}@db.internal"
_STANDS_IN = "server"  # for any, in a project whose own database is a file
SERVER = (
    f"{_STANDS_IN}://{_SERVER}:5432/agent"
    if BACKEND.EMBEDDED
    else BACKEND.EXAMPLE.replace("user:password@host", _SERVER)
)
POOLER = SERVER.replace("db.internal", "pooler.internal")

FINE: Mapping[str, Any] = {  # Any: values of settings; all that the environment could set otherwise
    "environment": "production",
    "database_url": SERVER,
    "database_direct_url": "",
    "database_pool_min": 1,
    "database_pool_max": 10,
    "database_max_connections": 100,
    "replicas": 1,
    "checkpoint_key": "",
    "checkpoint_key_old": "",
}


def refused(**values: Any) -> str:  # Any: values of settings
    """Return why these values are refused, by the settings or by the door of `persistence`; nothing if they serve.

    What the team's own fields need is a scenario's; secrets with a default have another value.
    """
    own = {**dict.fromkeys(default_secrets(AgentSettings), PASSWORD), **scenarios()[0].settings}
    try:
        settings = AgentSettings(_env_file=None, **{**own, **FINE, **values})
        if not settings.checkpoint_url.startswith(_STANDS_IN):
            normalise(settings.checkpoint_url)
    except ValidationError as error:
        return "; ".join(": ".join(filter(None, problem)) for problem in problems_of(error))
    except ProjectError as error:
        return str(error)
    return ""
