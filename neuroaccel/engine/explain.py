"""What the engine does with a graph, node by node, and why."""

from __future__ import annotations

from neuroaccel.engine.compiler import compile_graph
from neuroaccel.engine.operation import Same
from neuroaccel.engine.plan import Number, Plan
from neuroaccel.engine.taped import by_tape
from neuroaccel.graph import Graph


def explain(graph: Graph | Plan, arithmetic: Number = "float32", batch: int = 1) -> str:
    """Which kernel runs each node, on what stored weights, and by which rule; nothing runs.

    Arguments:
        graph: the graph, or what :func:`compile_graph` made of it.
        arithmetic: ``float32``, ``float64`` or ``integer``; a compiled graph has its own.
        batch: N.

    Returns:
        Lines on the ticks that run at once and how a session runs them, a line per node, and which nodes go tick by
        tick.

    Raises:
        UnsupportedNode: a node that the engine cannot hold.
    """
    plan = graph if isinstance(graph, Plan) else compile_graph(graph, arithmetic)
    lines = [f"{plan.arithmetic}, up to {plan.block(batch)} ticks at once for {batch} sample{'s' if batch > 1 else ''}"]
    why = by_tape(plan, batch)
    lines.append(f"a session goes node by node: {why}" if why else "a session runs whole ticks by tape")
    width = max(len(name) for name in plan.graph.nodes)
    for name in plan.graph.order:
        operation = plan.steps["node", name].operation
        shown = operation.explain() or (
            "shares its input's memory" if isinstance(operation, Same) else "all ticks at once"
        )
        lines.append(f"{name:{width}}  {plan.graph.nodes[name].kind:9}  {plan.signals[name]!s:20}  {shown}")
    for stage in plan.stages:
        if stage.loop:
            names = ", ".join(dict.fromkeys(ref[1] for ref in (*stage.emit, *stage.run)))
            lines.append(f"a loop, tick by tick: {names}")
    return "\n".join(lines)
