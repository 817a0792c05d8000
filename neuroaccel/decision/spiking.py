"""The Spiking Decision Transformer: return, state and action tokens, T micro-steps each, through spiking blocks."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from neuroaccel.decision.attention import level, shift_for, softmax_attention, whole_attention
from neuroaccel.decision.config import DecisionConfig
from neuroaccel.decision.dense import Cache
from neuroaccel.decision.phase import PhaseCode
from neuroaccel.decision.plasticity import learn_head
from neuroaccel.decision.routing import Router, nearest
from neuroaccel.errors import InputError
from neuroaccel.graph import ValueGrid
from neuroaccel.neurons import LIF, Neuron
from neuroaccel.synapses.plastic import ThreeFactor

TOKEN_GRID = ValueGrid(8, -2047, 2047)  # of token vectors: twelve bits, up to ±8
STREAM_GRID = ValueGrid(6, -2047, 2047)  # of an analog residual stream where synapses read it: up to ±32
NEVER = 2.0**60  # a threshold that nothing reaches
EXPECTED_RATE = 0.2  # of spikes, for the initial weights


@dataclass
class Record:
    """What a run leaves behind on request.

    Arguments:
        spikes: layer → spikes of each token ``[B, L]``, with gradients; ``phase`` is the phase code's.
        rates: layer → spikes per neuron and micro-step, a number without gradient.
        head_input: what entered the action head, ``[B, L, width]``.
        totals: block → its attention's whole numbers before they are scaled.
    """

    spikes: dict[str, Tensor] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    head_input: Tensor | None = None
    totals: dict[int, Tensor] = field(default_factory=dict)


def on_grid(x: Tensor, grid: ValueGrid) -> Tensor:
    """``x`` rounded and clipped to a grid, as an Input of the graph does it; straight-through inside."""
    return nearest(x, 2.0**grid.frac).clamp(grid.low * 2.0**-grid.frac, grid.high * 2.0**-grid.frac)


def _start(layer: nn.Linear, power: float, gain: float, bias: float) -> None:
    """Weights for currents of spread ``gain`` around ``bias``, where inputs have the mean square ``power``."""
    nn.init.normal_(layer.weight, std=gain / (layer.in_features * power) ** 0.5)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


class SpikingBlock(nn.Module):
    """One block of T micro-steps per token, every neuron fresh at each token.

    q, k, v: LIF of W·x_τ, times the head's phase; their counts Q, K, V → attention y → α·y.

    - ``stream="spiking"``: a_τ = LIF(W_o(α·y) + x_τ);  h_τ = LIF(W₁·a_τ);  x_τ = LIF(W₂·h_τ + a_τ)
    - ``stream="analog"``: x = x + W_o(α·y);  x = x + W₂·Σ_τ h_τ with h_τ = LIF(W₁·x); synapses read x on a grid.

    Arguments:
        config: sizes and parts.
        index: number of the block, for names.
    """

    shift: Tensor

    def __init__(self, config: DecisionConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        d, theta, T = config.width, config.threshold, config.micro_steps
        self.spiking, self.exact = config.stream == "spiking", config.attention == "counts"
        self.project, self.mix = nn.Linear(d, 3 * d, config.bias), nn.Linear(d, d, config.bias)
        self.widen = nn.Linear(d, config.hidden * d, config.bias)
        self.narrow = nn.Linear(config.hidden * d, d, config.bias)
        self.qkv, self.after_widen = lif(config), lif(config)
        self.after_mix = lif(config) if self.spiking else None
        self.after_narrow = lif(config) if self.spiking else None
        self.router = Router(config.heads, d // config.heads, self.exact) if config.routing else None
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))
        inner = EXPECTED_RATE if self.spiking else 1.0
        _start(self.project, inner, 0.8 * theta, 0.2 * theta)
        _start(self.widen, inner, 0.8 * theta, 0.2 * theta)
        # A skipped spike brings 1: with a little more it fires at θ = 1, and blocks begin near the identity.
        _start(self.mix, 0.03, 0.4 * theta if self.spiking else 0.1, 0.1 * theta if self.spiking else 0.0)
        if self.spiking:
            _start(self.narrow, EXPECTED_RATE, 0.4 * theta, 0.1 * theta)
        else:
            _start(self.narrow, EXPECTED_RATE * T * T, 0.1, 0.0)

    def forward(
        self, x: Tensor, gates: Tensor | None, keys: Tensor, values: Tensor, seen: Tensor, record: Record | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One block.

        Arguments:
            x: spikes ``[T, B·L, d]``, or the analog stream ``[B·L, d]``.
            gates: phase code ``[T, B·L, H]``.
            keys, values: counts of earlier tokens, ``[B, H, P, d / H]``.
            seen: bool ``[B or 1, 1, L, P + L]``.
            record: filled where given.

        Returns:
            As ``x``, and keys and values of earlier tokens and these.
        """
        c = self.config
        B, L = keys.shape[0], seen.shape[2]
        d, H = c.width, c.heads
        spikes = self._fire("qkv", self.qkv, self.project(self._read(x)), (B, L), record)
        by_head = spikes.reshape(c.micro_steps, -1, 3, H, d // H)
        if gates is not None:
            by_head = by_head * gates[:, :, None, :, None]
        q, k, v = by_head.sum(0).reshape(B, L, 3, H, d // H).permute(2, 0, 3, 1, 4)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        y = self.attend(q, keys, values, seen, record).transpose(1, 2)
        if self.router is not None:
            y = y * self.router(y)[..., None]
        current = self.mix(y.reshape(-1, d))
        if not self.spiking:
            x = x + current
            hidden = self._fire("hidden", self.after_widen, self.widen(self._read(x)), (B, L), record)
            return x + self.narrow(hidden.sum(0)), keys, values
        assert self.after_mix is not None
        assert self.after_narrow is not None
        a = self._fire("mix", self.after_mix, current + x, (B, L), record)
        hidden = self._fire("hidden", self.after_widen, self.widen(a), (B, L), record)
        return self._fire("out", self.after_narrow, self.narrow(hidden) + a, (B, L), record), keys, values

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, seen: Tensor, record: Record | None = None) -> Tensor:
        """Attention of counts, ``[B, H, L, d / H]``: exact in sixteenths, or with softmax."""
        if not self.exact:
            return softmax_attention(q, keys, values, seen, self.config.micro_steps)
        totals = whole_attention(q, keys, values, seen)
        if record is not None:
            record.totals[self.index] = totals.detach()
        return level(totals, int(self.shift))

    def _read(self, x: Tensor) -> Tensor:
        return x if self.spiking else on_grid(x, STREAM_GRID)

    def _fire(self, name: str, layer: Neuron, i: Tensor, size: tuple[int, int], record: Record | None) -> Tensor:
        return fire(f"block{self.index}.{name}", layer, i, self.config.micro_steps, size, record)


def lif(config: DecisionConfig) -> Neuron:
    """The leaky integrate-and-fire neuron of all layers: v = β·v + i; fires above θ; hard reset to 0.

    Surrogate: fast sigmoid 1/(1 + slope·\\|v − θ\\|)².
    """
    return LIF(beta=config.beta, threshold=config.threshold, surrogate="fast_sigmoid", slope=config.slope)


def fire(name: str, layer: Neuron, i: Tensor, steps: int, size: tuple[int, int], record: Record | None) -> Tensor:
    """Spikes ``[T, M, width]`` of fresh neurons for currents ``[T, M, width]``, or constant ones ``[M, width]``."""
    spikes: Tensor
    spikes, _ = layer(i.expand(steps, *i.shape) if i.dim() == 2 else i)
    if record is not None:
        record.spikes[name] = spikes.sum((0, 2)).reshape(size)
        record.rates[name] = float(spikes.detach().mean())
    return spikes


class SpikingDT(nn.Module):
    """Predicts an action at every token from the last 3 N tokens, itself included, in every layer.

    Token vectors are rounded to a grid of twelve bits. With ``stream="spiking"`` no analog path leads from state to
    action: the embedding's current makes LIF neurons fire for T micro-steps, blocks pass spikes on, and the head reads
    spike counts, W·Σ_τ x_τ + b. Neurons are fresh at every token and tokens lie in the neurons' batch, so a cache of
    keys and values is exact for streams of any length: with the counts attention ``step`` equals ``forward`` bit for
    bit in a :func:`snapped` model.

    Arguments:
        config: sizes and parts.

    Raises:
        InputError: counts that float32 cannot hold: T³·(width/heads)·3N of at least 2^24.

    Source: arXiv 2508.21505. # ours: the band, one matrix for the three kinds of token, the attention on counts, and
    that everything between the blocks may be spikes.

    >>> import torch
    >>> model = SpikingDT(DecisionConfig(state_size=4, actions=2, width=8, heads=2, context=3))
    >>> tuple(model(torch.zeros(5, 9, 10), torch.zeros(5, 9, dtype=torch.long)).shape)
    (5, 9, 2)
    """

    def __init__(self, config: DecisionConfig) -> None:
        super().__init__()
        self.config = config
        c, features = config, config.width // config.heads
        if (most := c.micro_steps**3 * features * c.band) >= 1 << 24 and c.attention == "counts":
            raise InputError(f"the counts attention can reach {most} and must stay below 2^24; use fewer micro-steps")
        self.embed, self.head = nn.Linear(c.token_size, c.width), nn.Linear(c.width, c.actions)
        spiking = c.stream == "spiking"
        self.after_embed = lif(c) if spiking else None
        self.phase = PhaseCode(c.heads, c.micro_steps, c.max_steps) if c.phase else None
        self.timestep = nn.Embedding(c.max_steps, c.width) if c.timestep else None
        if self.timestep is not None:
            nn.init.normal_(self.timestep.weight, std=0.1 * c.threshold)
        self.blocks = nn.ModuleList(SpikingBlock(c, i) for i in range(c.layers))
        # A token holds about three numbers of spread 1.
        _start(self.embed, 3 / c.token_size, 0.8 * c.threshold if spiking else 1.0, 0.2 * c.threshold if spiking else 0)
        _start(self.head, EXPECTED_RATE * c.micro_steps**2 if spiking else 1.0, 0.5, 0.0)

    def forward(self, x: Tensor, steps: Tensor) -> Tensor:
        """Every token of whole sequences.

        Arguments:
            x: ``[B, L, token_size]``, of any length.
            steps: int64 ``[B, L]``, below ``max_steps``.

        Returns:
            ``[B, L, actions]``; those at state tokens, ``[:, 1::3]``, are the decisions.
        """
        return self.run(x, steps)

    def run(self, x: Tensor, steps: Tensor, record: Record | None = None) -> Tensor:
        """:meth:`forward` that fills a record."""
        at = torch.arange(x.shape[1], device=x.device)
        gap = at[:, None] - at[None, :]
        seen = ((gap >= 0) & (gap < self.config.band))[None, None]
        return self._through(x, steps, self._empty(len(x), 0), seen, record)[0]

    def cache(self, batch: int) -> Cache:
        """No tokens yet, for ``batch`` episodes."""
        empty = self._empty(batch, self.config.band - 1)
        return Cache(empty, empty, torch.zeros(batch, dtype=torch.long, device=empty.device))

    def step(self, x: Tensor, steps: Tensor, cache: Cache, record: Record | None = None) -> tuple[Tensor, Cache]:
        """The next token of each episode.

        Arguments:
            x: ``[B, token_size]``.
            steps: int64 ``[B]``.
            cache: of the tokens before.
            record: filled where given, ``L`` being 1.

        Returns:
            ``[B, actions]``, what ``forward`` gives at that token, and the cache with it.
        """
        predicted, cache = self.extend(x[:, None], steps[:, None], cache, record)
        return predicted[:, 0], cache

    def extend(self, x: Tensor, steps: Tensor, cache: Cache, record: Record | None = None) -> tuple[Tensor, Cache]:
        """The next L tokens at once: ``[B, L, token_size]``, ``[B, L]`` → ``[B, L, actions]`` and the cache."""
        before, L = self.config.band - 1, x.shape[1]
        # Token i of these stands at `before` + i; the cache's place j holds a token if j ≥ before − filled.
        at = torch.arange(before + L, device=x.device)
        gap = at[before:, None] - at[None, :]
        there = at[None, :] >= before - cache.filled[:, None]
        seen = ((gap >= 0) & (gap <= before))[None, None] & there[:, None, None]
        predicted, keys, values = self._through(x, steps, cache.keys, seen, record, cache.values)
        kept = slice(L, None)
        filled = (cache.filled + L).clamp(max=before)
        return predicted, Cache(keys[:, :, :, kept], values[:, :, :, kept], filled)

    def reset(self, cache: Cache, done: Tensor) -> Cache:
        """Forget the tokens of the episodes where ``done`` (bool ``[B]``)."""
        keep = (~done).to(cache.keys)[None, :, None, None, None]
        return Cache(cache.keys * keep, cache.values * keep, cache.filled.masked_fill(done, 0))

    def calibrate(self, x: Tensor, steps: Tensor) -> list[int]:
        """Set the shift of every block's counts attention from a batch, so that 95 % of its values reach at most 15.

        Blocks are set in their order, for what a block sees depends on those before.

        Returns:
            The shifts; all 0 with softmax.
        """
        with torch.no_grad():
            for i, block in enumerate(self.blocks):
                record = Record()
                self.run(x, steps, record)
                if i in record.totals:
                    block.shift.fill_(shift_for(record.totals[i]))  # type: ignore[operator]
        return [int(block.shift) for block in self.blocks]  # type: ignore[arg-type]

    def head_update(self, trace: Tensor, x: Tensor, y: Tensor, third: Tensor, rule: ThreeFactor) -> Tensor:
        """Move the head's weights by a three-factor rule; arguments of
        :func:`~neuroaccel.decision.plasticity.learn_head`, ``x`` being :attr:`Record.head_input` at a token."""
        return learn_head(self.head, trace, x, y, third, rule)

    def _empty(self, batch: int, places: int) -> Tensor:
        c = self.config
        return self.head.weight.new_zeros(c.layers, batch, c.heads, places, c.width // c.heads)

    def _through(
        self,
        x: Tensor,
        steps: Tensor,
        keys: Tensor,
        seen: Tensor,
        record: Record | None,
        values: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        c, (B, L) = self.config, x.shape[:2]
        gates: Tensor | None = None
        if self.phase is not None:
            code = self.phase(steps)
            gates = code.flatten(0, 1).transpose(0, 1)
            if record is not None:
                record.spikes["phase"] = code.sum((2, 3))
                record.rates["phase"] = float(code.detach().mean())
        h = self.embed(on_grid(x, TOKEN_GRID))
        h = (h if self.timestep is None else h + self.timestep(steps)).flatten(0, 1)
        if self.after_embed is not None:
            h = fire("embed", self.after_embed, h, c.micro_steps, (B, L), record)
        held_keys, held_values = [], []
        for i, block in enumerate(self.blocks):
            h, k, v = block(h, gates, keys[i], keys[i] if values is None else values[i], seen, record)
            held_keys.append(k)
            held_values.append(v)
        read = h.sum(0) if self.after_embed is not None else on_grid(h, STREAM_GRID)
        if record is not None:
            record.head_input = read.detach().unflatten(0, (B, L))
        out: Tensor = self.head(read).unflatten(0, (B, L))
        return out.tanh() if c.continuous else out, torch.stack(held_keys), torch.stack(held_values)


def spike_counts(model: SpikingDT, x: Tensor, steps: Tensor) -> dict[str, Tensor]:
    """Spikes of every LIF layer and of the phase code, per token: layer → ``[B, L]``, no gradient.

    A decision with cached keys and values costs those of its newest three tokens.
    """
    record = Record()
    with torch.no_grad():
        model.run(x, steps, record)
    return record.spikes


def penalty(record: Record, target: float, mask: Tensor | None = None) -> Tensor:
    """max(0, spikes of a decision's newest three tokens, the mean over decisions, − target), with a gradient.

    Arguments:
        record: of :meth:`SpikingDT.run` on whole decisions.
        target: spikes per decision that cost nothing.
        mask: bool ``[B, N]``, decisions that count; by default all.
    """
    per_token = torch.stack(list(record.spikes.values())).sum(0)
    per_decision = per_token.reshape(len(per_token), -1, 3).sum(2)
    mean = per_decision.mean() if mask is None else per_decision[mask].mean()
    return torch.relu(mean - target)


def silenced(model: SpikingDT) -> SpikingDT:
    """A copy in which no neuron fires, whatever it learns: the control that shows what bypasses the spikes."""
    quiet = copy.deepcopy(model)
    for module in quiet.modules():
        if isinstance(module, Neuron):
            with torch.no_grad():
                module.threshold.fill_(NEVER)  # type: ignore[operator]
    return quiet
