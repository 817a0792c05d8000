"""What a decision transformer is made of, spiking or dense."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DecisionConfig(BaseModel):
    """Sizes and parts of a decision transformer; the dense twin and the spiking one read the same fields.

    Arguments:
        model: ``dt`` (dense) or ``snn-dt``.
        state_size: S, numbers in an observation.
        actions: discrete actions, or the length of a continuous one.
        continuous: whether actions are real vectors, inside ``low`` to ``high``.
        low, high: bounds of each number of a continuous action.
        context: N, decisions that a token may look back; a token attends to the last 3 N tokens.
        width, layers, heads: of the transformer; ``width`` divides into ``heads``.
        hidden: width of the layer between two blocks' attentions, in multiples of ``width``.
        max_steps: entries of the table of timesteps: the longest episode.
        return_token: what the first token of a step holds: the return still to come, or the total asked for.
        return_scale: returns are divided by it.
        micro_steps: T, steps of a spiking token (``snn-dt``, as all that follows).
        attention: ``counts`` (exact, no softmax) or ``softmax`` (close).
        stream: ``spiking`` (no analog path from state to action) or ``analog`` (a residual stream of real numbers).
        phase: whether heads are gated by the phase code of the timestep.
        timestep: whether a learned real vector of the timestep is added to a token's embedding, which the phase code
            can be compared with; such a model has no exact graph.
        routing: whether heads are weighted by dendritic gates.
        bias: whether the blocks' synapses have biases; without, a neuron that no spike reaches rests and costs nothing.
        beta, threshold: of the leaky integrate-and-fire neurons.
        slope: steepness k of their surrogate gradient 1/(1 + k·\\|v − θ\\|)².
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Literal["dt", "snn-dt"] = "snn-dt"
    state_size: int = Field(ge=1)
    actions: int = Field(ge=1)
    continuous: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    context: int = Field(default=20, ge=1)
    width: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    hidden: int = Field(default=2, ge=1)
    max_steps: int = Field(default=500, ge=1)
    return_token: Literal["to-go", "total"] = "to-go"
    return_scale: float = Field(default=1.0, gt=0)
    micro_steps: int = Field(default=4, ge=1)
    attention: Literal["counts", "softmax"] = "counts"
    stream: Literal["spiking", "analog"] = "spiking"
    phase: bool = True
    timestep: bool = False
    routing: bool = True
    bias: bool = True
    beta: float = Field(default=0.5, ge=0, le=1)
    threshold: float = Field(default=1.0, gt=0)
    slope: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> DecisionConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        for name, bounds in (("low", self.low), ("high", self.high)):
            if len(bounds) != (self.actions if self.continuous else 0) or not all(map(math.isfinite, bounds)):
                raise ValueError(
                    f"{name} has {len(bounds)} bounds; expected one finite number for each of a continuous action"
                )
        return self

    @property
    def band(self) -> int:
        """Tokens that a token attends to, itself included: 3 N."""
        return 3 * self.context

    @property
    def token_size(self) -> int:
        """Length of a token's vector: return, state, action, and which of the three it is."""
        return 1 + self.state_size + self.actions + 3
