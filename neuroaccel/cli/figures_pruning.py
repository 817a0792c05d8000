"""Pictures of pruning: connectivity over a training, accuracy against connectivity, what living synapses carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neuroaccel.cli.figures import _png, _rows
from neuroaccel.ledger.transfer import LayerTransfer


def connectivity(metrics: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """The share of living synapses over the epochs, of W and V apart where there are gates.

    Arguments:
        metrics: one mapping per epoch, as a run has them.
        title: line above the picture.
    """
    figure, (axis,) = _rows(1, title, height=3.2)
    names = sorted({key for row in metrics for key in row if key.startswith("living_share")})
    for name in names:
        points = [(row.get("epoch", at), row[name]) for at, row in enumerate(metrics) if name in row]
        of = {"living_share_weight": "W", "living_share_gate": "V"}.get(name, "all")
        axis.plot(*zip(*points, strict=True), marker=".", label=of)
    axis.set_yscale("log")
    axis.set_ylabel("connectivity")
    axis.set_xlabel("epoch")
    if names:
        axis.legend(frameon=False, fontsize=8)
    return _png(figure)


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
