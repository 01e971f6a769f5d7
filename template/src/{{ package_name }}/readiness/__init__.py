"""The production-readiness standard, a check a file, driven by the agent's own `scenarios()`. `make ready` runs it."""

from .engine.check import Check, Exam, Finding, Place

__all__ = ["Check", "Exam", "Finding", "Place"]
