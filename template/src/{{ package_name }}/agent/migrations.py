"""What a release has renamed or given another form, for the threads that were begun before it.

A thread outlives releases: it waits for days, and it is asked again after months. When it goes on, or gets a new
question, what is registered here is applied to it, once, with a line in the audit. `docs/agent.md` has the recipes.
"""

from collections.abc import Callable
from typing import Any

RENAMED: dict[str, str] = {}
"""Nodes, the former name first: {"check": "review"}. A thread that stops at the former one goes on at the other."""

STATE: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By version, from 1 on, a function from the state in its form before (Any: its values) to the keys that change.

It is called for what a thread holds, and as well for an input that waits in the queue and for what a node has returned
before a crash: so each key may be missing, and only keys that are there may be given back, or what is made of them.
"""
