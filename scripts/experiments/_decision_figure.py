"""The picture of the decision transformers' experiment: return against spikes, and against multiply-accumulates."""

import io

from _rows import Row, found
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

AXES = (("spikes_per_decision", "spikes per decision, newest tokens"), ("macs_per_decision", "MACs per decision"))
MARKS = "osD^vP*X"


def against_costs(rows: list[Row], task: str, arms: list[str]) -> bytes:
    """Normalised return of every seed against its spikes and its MACs, as PNG.

    A spiking model's control without spikes hangs below it, hollow, at the place of the model itself.
    """
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    figure.suptitle(task, fontsize=10)
    for axis, (metric, label) in zip(figure.subplots(1, 2, sharey=True), AXES, strict=True):
        for at, arm in enumerate(arms):
            reached, costs = found(rows, task, arm, "normalised_return"), found(rows, task, arm, metric)
            silenced = found(rows, task, arm, "normalised_return_silenced")
            seeds = [s for s in reached if s in costs]
            if not seeds:
                continue
            x, y = [costs[s] for s in seeds], [reached[s] for s in seeds]
            style = {"marker": MARKS[at % len(MARKS)], "linestyle": "", "color": f"C{at % 10}", "markersize": 5}
            axis.plot(x, y, label=arm, **style)
            below = [(costs[s], reached[s], silenced[s]) for s in seeds if s in silenced]
            for cost, top, bottom in below:
                axis.plot([cost, cost], [top, bottom], color=style["color"], linewidth=0.5, linestyle=":")
            axis.plot([c for c, _, _ in below], [b for _, _, b in below], markerfacecolor="none", **style)
        axis.set_xscale("symlog", linthresh=1.0)
        axis.set_xlim(left=-0.2)
        axis.axhline(0.9, color="grey", linewidth=0.8, linestyle="--")
        axis.set_xlabel(label)
    figure.axes[0].set_ylabel("normalised return")
    figure.legend(*figure.axes[1].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png")
    return content.getvalue()
