"""A network inside a network, with a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from neuroaccel.errors import GraphError, InputError
from neuroaccel.network.clocks import History, mixed

if TYPE_CHECKING:
    from neuroaccel.network.network import Network

Inside = tuple[dict[str, Tensor], dict[str, History]]


class Scope(nn.Module):
    """``ticks`` steps of an inner network for every tick.

    Arguments:
        net: the inner network, one input per port, one output.
        ticks: inner steps per tick.
        input: ``slice`` feeds entry t of the first axis at step t, ``repeat`` feeds the same value each step.
        state: ``carry`` keeps inner state from tick to tick, ``reset`` starts fresh.
        output: ``all`` stacks the steps, ``last`` or ``sum`` of them (added in their order).
        ports: names of its ports, in the order of the inner inputs; by default ``in`` for one, the inputs' for several.

    The state is the inner network's, ``None`` where it starts fresh at every tick.
    """

    on_sequences: ClassVar[bool] = True

    def __init__(
        self,
        net: Network,
        ticks: int,
        input: Literal["slice", "repeat"] = "repeat",
        state: Literal["carry", "reset"] = "reset",
        output: Literal["all", "last", "sum"] = "last",
        ports: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if ticks < 1:
            raise InputError(f"Scope: ticks must be at least 1, not {ticks}")
        for value, known in (
            (input, ("slice", "repeat")),
            (state, ("carry", "reset")),
            (output, ("all", "last", "sum")),
        ):
            if value not in known:
                raise InputError(f"Scope: '{value}' is none of {', '.join(known)}")
        if len(net.outputs) != 1:
            raise GraphError(f"Scope: its network must have one output, not {len(net.outputs)}")
        self.net, self.ticks, self.input, self.carries, self.output = net, ticks, input, state == "carry", output
        self.ports = ports or (net.inputs if len(net.inputs) > 1 else ("in",))
        if len(self.ports) != len(net.inputs):
            raise GraphError(f"Scope: ports {self.ports} for the inputs {net.inputs} of its network")

    def forward(self, *args: Any) -> tuple[Tensor, Any]:
        y, state, _ = self.run(args[:-1], args[-1], None, keep=False)
        return y, state

    def reset(self, state: Any, done: Tensor) -> Any:
        """Fresh inner state for the samples where ``done`` ([N], bool) holds."""
        return self.net.reset(state, done)

    def mix(self, on: Tensor, new: Any, old: Any) -> Any:
        """Inner states of some samples from ``new``, of the others from ``old``."""
        return self.net.mix(on, new, old)

    def run(
        self, inputs: Sequence[Tensor], state: Any, on: Tensor | None, keep: bool
    ) -> tuple[Tensor, Any, Inside | None]:
        """Run on rows.

        Arguments:
            inputs: ``[R, N, ...]`` of every port.
            state: from before.
            on: bool ``[R, N]``, the rows that run, ``None``: all; the others give 0 and change nothing.
            keep: whether what happens inside is wanted.

        Returns:
            ``[R, N, ...]``, the state after, and (inner node → emissions, inner neuron layer → history), each
            ``[R, steps, N, ...]``; where a row does not run, emissions are 0 and states stand.
        """
        if not self.carries:
            y, inside = self._fresh(inputs, on, keep)
            return y, None, inside
        if on is None:
            y, state, inside = self._steps(inputs, state, keep)
            return y, state, inside
        values, insides = [], []
        for r, runs in enumerate(on):
            y, after, inside = self._steps([v[r : r + 1] for v in inputs], state, keep)
            before, state = state, mixed(self, runs, after, state)
            values.append(torch.where(runs.reshape(1, -1, *[1] * (y.dim() - 2)), y, 0.0))
            insides.append(inside and self._only(runs, inside, before))
        return torch.cat(values), state, _cat([inside for inside in insides if inside is not None])

    def _fresh(self, inputs: Sequence[Tensor], on: Tensor | None, keep: bool) -> tuple[Tensor, Inside | None]:
        """Rows do not know of each other: all of them run at once, as samples."""
        size = inputs[0].shape[:2]
        pairs = on if on is not None and bool(on.any()) else inputs[0].new_ones(size, dtype=torch.bool)
        y, _, inside = self._steps([v[pairs].unsqueeze(0) for v in inputs], None, keep)
        none = on is not None and not bool(on.any())
        where = pairs.nonzero(as_tuple=True)

        def back(value: Tensor, fill: Tensor | None = None) -> Tensor:
            """[1, steps, pairs, ...] → [R, steps, N, ...]."""
            steps = value.squeeze(0).transpose(0, 1)
            full = value.new_zeros((*size, *steps.shape[1:]))
            if fill is not None:
                full = full + fill
            if not none:
                full = full.index_put(where, steps)
            return full.transpose(1, 2)

        first = y.squeeze(0)
        result = first.new_zeros((*size, *first.shape[1:]))
        result = result if none else result.index_put(where, first)
        if inside is None:
            return result, None
        histories = {
            name: {key: back(v, self.net.standing(name, key, v[0, :1, :1], None)) for key, v in each.items()}
            for name, each in inside[1].items()
        }
        return result, ({name: back(v) for name, v in inside[0].items()}, histories)

    def _steps(self, inputs: Sequence[Tensor], state: Any, keep: bool) -> tuple[Tensor, Any, Inside | None]:
        """All rows one after the other, every sample."""
        given = {}
        rows = len(inputs[0])
        for entry, port, x in zip(self.net.inputs, self.ports, inputs, strict=True):
            if self.input == "repeat":
                steps = x.unsqueeze(1).expand(rows, self.ticks, *x.shape[1:])
            elif x.dim() < 3 or x.shape[2] != self.ticks:
                raise GraphError(
                    f"Scope: port '{port}' takes [{self.ticks}, ...] to slice, it gets {tuple(x.shape[2:])}"
                )
            else:
                steps = x.movedim(2, 1)
            given[entry] = steps.flatten(0, 1)
        inside: Inside | None = None
        if keep:
            history: dict[str, History] = {}
            values, state = self.net.run(given, state, history)
            y = values[self.net.outputs[0]]
            inside = (
                {key: _rows(v, rows) for key, v in values.items()},
                {key: {k: _rows(v, rows) for k, v in each.items()} for key, each in history.items()},
            )
        else:
            y, state = self.net(given, state)
        y = _rows(y, rows)
        if self.output == "all":
            return y.transpose(1, 2), state, inside
        if self.output == "last":
            return y[:, -1], state, inside
        total = y[:, 0]
        for step in y.unbind(1)[1:]:
            total = total + step
        return total, state, inside

    def _only(self, runs: Tensor, inside: Inside, before: Any) -> Inside:
        """One row with what happened in the samples that ran; in the others states stand as they were."""

        def pick(value: Tensor, other: Tensor | float) -> Tensor:
            return torch.where(runs.reshape(1, 1, -1, *[1] * (value.dim() - 3)), value, other)

        values = {name: pick(v, 0.0) for name, v in inside[0].items()}
        histories = {
            name: {key: pick(v, self.net.standing(name, key, v[0, :1], before)) for key, v in each.items()}
            for name, each in inside[1].items()
        }
        return values, histories


def _rows(values: Tensor, rows: int) -> Tensor:
    """``[R · steps, N, ...]`` → ``[R, steps, N, ...]``."""
    return values.reshape(rows, len(values) // rows, *values.shape[1:])


def _cat(parts: Sequence[Inside]) -> Inside | None:
    if not parts:
        return None
    values = {name: torch.cat([p[0][name] for p in parts]) for name in parts[0][0]}
    histories = {
        name: {key: torch.cat([p[1][name][key] for p in parts]) for key in each} for name, each in parts[0][1].items()
    }
    return values, histories
