"""Pictures of pruning: connectivity over a training, accuracy against connectivity, what living synapses carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroaccel.cli.figures import _png, _rows
from neuroaccel.ledger.transfer import LayerTransfer

PART = "living_share/"  # then LAYER.TENSOR: the metric of one pruned tensor


def connectivity(metrics: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """The share of living synapses over the epochs, of W and V apart where there are gates; below it every layer's.

    Arguments:
        metrics: one mapping per epoch, as a run has them.
        title: line above the picture.
    """
    names = sorted({key for row in metrics for key in row if key.startswith("living_share")})
    parts = [name for name in names if name.startswith(PART)]
    figure, axes = _rows(2 if parts else 1, title, height=3.2)
    for name in names:
        if name not in parts:
            of = {"living_share_weight": "W", "living_share_gate": "V"}.get(name, "all")
            axes[0].plot(*_over_epochs(metrics, name), marker=".", label=of)
    layers = list(dict.fromkeys(name.removeprefix(PART).rpartition(".")[0] for name in parts))
    for name in parts:
        layer, _, tensor = name.removeprefix(PART).rpartition(".")
        gate = tensor == "gate"
        axes[1].plot(
            *_over_epochs(metrics, name),
            color=f"C{layers.index(layer) % 10}",
            linestyle="--" if gate else "-",
            marker=".",
            label=f"{layer}, V" if gate else layer,
        )
    for axis, label in zip(axes, ("connectivity", "connectivity\nof the layers"), strict=False):
        axis.set_yscale("log")
        axis.set_ylabel(label)
        if axis.lines:
            axis.legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("epoch")
    return _png(figure)


def _over_epochs(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[list[Any], list[Any]]:
    found = [(row.get("epoch", at), row[name]) for at, row in enumerate(metrics) if name in row]
    return [epoch for epoch, _ in found], [value for _, value in found]


def of_run(metrics: Sequence[Mapping[str, Any]], carried: Sequence[Mapping[str, Any]], name: str) -> dict[str, bytes]:
    """The pictures of one pruned training, by name; what was not logged is left out.

    Arguments:
        metrics: of the run, one mapping per epoch.
        carried: likewise ``epoch`` and ``layers``, as ``Run.transfers`` gives them.
        name: of the run.
    """
    drawn = {}
    if any("living_share" in row for row in metrics):
        drawn["connectivity"] = connectivity(metrics, f"{name}: connectivity over the training")
    points = [
        (row["living_share"], row["validation_accuracy"], 0.0)
        for row in metrics
        if "living_share" in row and "validation_accuracy" in row
    ]
    if points:
        title = f"{name}: accuracy against connectivity, a point per epoch"
        drawn["accuracy"] = accuracy({"validation": points}, title)
    layers = {str(row["epoch"]): [LayerTransfer.from_json(layer) for layer in row["layers"]] for row in carried}
    if layers:
        drawn["transfer"] = efficiency(layers, f"{name}: what living synapses carry, a point per epoch")
    return drawn


def accuracy(points: Mapping[str, Sequence[tuple[float, float, float]]], title: str) -> bytes:
    """Accuracy against connectivity.

    Arguments:
        points: arm → (connectivity, accuracy, standard deviation) each.
        title: line above the picture.
    """
    figure, (axis,) = _rows(1, title, height=3.2)
    for arm, values in points.items():
        share, mean, spread = zip(*sorted(values), strict=True)
        axis.errorbar(share, mean, spread, marker=".", linewidth=1.0, capsize=2, label=arm)
    axis.set_xscale("log")
    axis.set_xlabel("connectivity")
    axis.set_ylabel("accuracy")
    axis.legend(frameon=False, fontsize=8)
    return _png(figure)


def efficiency(layers: Mapping[str, Sequence[LayerTransfer]], title: str) -> bytes:
    """Both definitions of the efficiency of information transfer against connectivity, one line per layer.

    Arguments:
        layers: network → its layers, as ``transfer`` gives them; the networks have the same layers.
        title: line above the picture.
    """
    figure, axes = _rows(3, title)
    names = ("current_per_synapse", "information_per_connectivity", "information_per_operation")
    labels = ("mean |i| per\nliving synapse", "bits per tick\n/ connectivity", "bits per synaptic\noperation")
    nodes = list(dict.fromkeys(row.node for rows in layers.values() for row in rows))
    for axis, name, label in zip(axes, names, labels, strict=True):
        for node in nodes:
            found = [row for rows in layers.values() for row in rows if row.node == node]
            pairs = sorted((row.connectivity, getattr(row, name)) for row in found if getattr(row, name) is not None)
            if pairs:
                axis.plot(*zip(*pairs, strict=True), marker=".", linewidth=1.0, label=node)
        axis.set_xscale("log")
        axis.set_ylabel(label)
    axes[0].legend(frameon=False, fontsize=8)
    axes[-1].set_xlabel("connectivity")
    return _png(figure)
