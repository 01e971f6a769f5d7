"""One case, one measurement, one process."""

import asyncio
from dataclasses import dataclass

from .graph import TYPICAL
from .load import Figures, measure
from .proxy import Proxy
from .savers import open_run


@dataclass(frozen=True)
class Case:
    """What is measured: a variant under a load."""

    variant: str
    runs: int  # at once
    latency: float = 0.0  # milliseconds that a round trip takes longer than on loopback
    kilobytes: float = TYPICAL  # of the first input

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.kilobytes:g} kB, +{self.latency:g} ms, {self.variant}"


def measure_case(case: Case, url: str, proxy: Proxy | None, seconds: float) -> Figures:
    """Measure a case on an empty, migrated database. To be called in a process that has measured nothing yet."""

    async def measured() -> Figures:
        async with open_run(case.variant, url, case.kilobytes) as run:
            return await measure(run, case.runs, seconds, proxy.round_trips if proxy else None)

    return asyncio.run(measured())
