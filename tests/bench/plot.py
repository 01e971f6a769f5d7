"""The figures as a picture: runs a second over runs at once, on loopback and at a distance."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .case import Case
from .report import Results, middle
from .savers import VARIANTS

_COLOURS = {
    "none": "#9a9a9a",
    "memory": "#c2a15a",
    "stock": "#7aa6c2",
    "stock-pool": "#2f6f9f",
    "ours": "#c8442c",
    "plain-sql": "#5b8c5a",
}
_GREY = "#777777"  # legible on a white page and on a dark one


def plot(results: Results, file: Path) -> None:
    """Write the SVG. The same figures give the same file: no date, no random ids, text as text."""
    settings: dict[Any, Any]  # matplotlib types the keys, one by one
    settings = {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    settings |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _GREY)
    latencies = sorted({case.latency for case in results})
    loads = sorted({case.runs for case in results})
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9.5, 3.8), layout="constrained")
        axes = figure.subplots(1, len(latencies), sharey=True, squeeze=False)[0]
        for axis, latency in zip(axes, latencies, strict=True):
            for variant, colour in _COLOURS.items():
                cases = [Case(variant, runs, latency) for runs in loads]
                speeds = [middle(results, case, lambda figures: figures.runs_per_second) for case in cases]
                if any(speeds):
                    width = 2.5 if variant == "ours" else 1.5
                    label = VARIANTS[variant].replace("`", "").replace("*", "")
                    axis.plot(loads, speeds, marker="o", color=colour, linewidth=width, label=label)
            axis.set(xscale="log", yscale="log", xlabel="runs at once", xticks=loads, xticklabels=loads)
            axis.set_title(f"round trip + {latency:g} ms" if latency else "loopback", color=_GREY)
            axis.minorticks_off()
            axis.grid(visible=True, color=_GREY, alpha=0.25)
        axes[0].set_ylabel("runs a second")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False)
        file.parent.mkdir(exist_ok=True)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
