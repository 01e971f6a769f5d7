"""`python -m bench`: all the cases, round by round, then the report."""

import argparse
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from time import monotonic

from .case import Case
from .graph import LARGE
from .growth import POLICIES
from .laboratory import DISTANCE, laboratory
from .load import Figures
from .report import report, write_into
from .savers import BASELINE, FLOOR, VARIANTS, WITHOUT_SERVER

_DOCS = Path(__file__).parents[2] / "docs"
_LARGE_RUNS = 128
_GROWING = (BASELINE, "ours")


def main() -> None:
    """Measure what the command line says. The whole of it, and nothing less, goes into docs/."""
    chosen = _arguments()
    cases = list(_cases(chosen.only, chosen.runs, chosen.latency, large=chosen.large))
    results: dict[Case, list[Figures]] = {case: [] for case in cases}
    began = monotonic()
    with laboratory() as room:
        for number in range(chosen.rounds):  # the variants take turns, so that the machine's moods meet all alike
            for case in cases:
                found = room.measure(case, chosen.seconds)
                results[case].append(found)
                _say(f"round {number + 1} of {chosen.rounds} · {case}: {found.runs_per_second:.1f} runs/s")
        growing = [variant for variant in _GROWING if chosen.growth and variant in chosen.only]
        growth = {
            (variant, policy): room.measure_growth(variant, policy, chosen.growth)
            for policy in POLICIES
            for variant in growing
        }
        text = report(results, growth, room.server(), chosen.command)
    print(text)
    if chosen.whole:
        from .plot import plot  # only the whole benchmark needs its library

        write_into(_DOCS / "performance.md", text)
        plot(results, _DOCS / "performance.svg")
    _say(f"{monotonic() - began:.0f} s")


def _cases(only: Collection[str], loads: Iterable[int], latencies: Iterable[float], *, large: bool) -> Iterable[Case]:
    """Yield the cases in their order: side by side stand those that are compared."""
    variants = [variant for variant in VARIANTS if variant in only]
    for latency in latencies:
        for runs in loads:
            yield from (Case(name, runs, latency) for name in variants if not (latency and name in WITHOUT_SERVER))
    if large:
        yield from (Case(name, _LARGE_RUNS, kilobytes=LARGE) for name in variants if name != FLOOR)


def _arguments() -> argparse.Namespace:
    """Return what is asked for, each default filled in, and `whole`: that nothing was left out."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what a saver costs.")
    parser.add_argument("--quick", action="store_true", help="a look, about a minute: one round of two loads")
    parser.add_argument("--only", type=_names, metavar="NAMES", help=f"of {','.join(VARIANTS)}")
    parser.add_argument("--runs", type=_numbers(int), metavar="N,...", help="runs at once, such as 1,32")
    parser.add_argument("--latency", type=_numbers(float), metavar="MS,...", help=f"0, {DISTANCE:g} or both")
    parser.add_argument("--rounds", type=int, metavar="N", help="repetitions")
    parser.add_argument("--seconds", type=float, metavar="S", help="under load, a measurement")
    parser.add_argument("--large", action=argparse.BooleanOptionalAction, help=f"runs of {LARGE} kB, too")
    parser.add_argument("--growth", type=int, metavar="TURNS", help="a thread of 10 turns or more, too; 0: none")
    chosen = parser.parse_args()
    whole = len(sys.argv) == 1
    some = any((chosen.only, chosen.runs, chosen.latency))
    defaults: dict[str, object] = {
        "only": list(VARIANTS),
        "runs": [1, 32] if chosen.quick else [1, 8, 32, 128],
        "latency": [0.0, DISTANCE],
        "rounds": 1 if chosen.quick else 5,
        "seconds": 0.3 if chosen.quick else 1.0,
        "large": not some,
        "growth": 0 if some or chosen.quick else 100,
    }
    given = {name: value for name, value in vars(chosen).items() if value is not None}
    command = "make bench" if whole else " ".join(["python -m bench", *sys.argv[1:]])
    return argparse.Namespace(**defaults | given, whole=whole, command=command)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(VARIANTS):
        raise argparse.ArgumentTypeError(f"no variant is called {', '.join(sorted(unknown))}")
    return names


def _numbers(kind: Callable[[str], float]) -> Callable[[str], list[float]]:
    def numbers(text: str) -> list[float]:
        return [kind(number) for number in text.split(",")]

    return numbers


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
