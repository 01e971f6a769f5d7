"""What `doctor` looks at: the whole deployment, one thread that is stuck or lost, or a set-up that hangs."""

from .deployment import diagnose
from .environment import read_settings
from .finding import Finding, clock_time, lasted
from .schema import diagnose_schema
from .thread import diagnose_thread

__all__ = ["Finding", "clock_time", "diagnose", "diagnose_schema", "diagnose_thread", "lasted", "read_settings"]
