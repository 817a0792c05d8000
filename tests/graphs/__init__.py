"""One small hand-written graph per method that the format must hold; no executor need run them."""

from __future__ import annotations

from collections.abc import Callable

from neuroaccel.graph import Graph
from tests.graphs import (
    binary_weight,
    decision_block,
    feedback,
    flow_step,
    frequency_tokens,
    integer_core,
    kept_tokens,
    nonlinear_dendrite,
    plastic_head,
    two_exits,
)

GRAPHS: dict[str, Callable[[], Graph]] = {
    "nonlinear_dendrite": nonlinear_dendrite.build,
    "decision_block": decision_block.build,
    "decision_block_softmax": decision_block.build_softmax,
    "binary_weight": binary_weight.build,
    "binary_weight_float": binary_weight.build_float,
    "kept_tokens": kept_tokens.build,
    "flow_step": flow_step.build,
    "two_exits": two_exits.build,
    "frequency_tokens": frequency_tokens.build,
    "integer_core": integer_core.build,
    "plastic_head": plastic_head.build,
    "feedback": feedback.build,
}
# Those that are close and not exact, by the node whose arithmetic no two executors share.
CLOSE = {"decision_block_softmax": "attention"}
