"""A neuron's tick in vectors: the lines of its kernel, translated one by one, for the neurons of a cell side by side.

A compiler makes vectors of a plain loop over neurons as well, but not of two loops, of which the inner one runs over
ticks. Here states stay in registers over all ticks, and what a neuron did comes back as a bit of a word.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from neuroaccel.engine.kernels.conv_rows import SHORT, WORD, Vectors

COMPARE = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}


class _Translator:
    """Assignments and expressions of generated lines, on vectors; ``known`` are the module's constants."""

    def __init__(self, vectors: Vectors, known: Mapping[str, Any]) -> None:
        self.vectors, self.builder, self.known = vectors, vectors.builder, known

    def constant(self, x: Any) -> Any:
        return ir.Constant(self.vectors.vector, [float(x)] * self.vectors.lanes)

    def run(self, lines: Sequence[ast.stmt], names: dict[str, Any]) -> None:
        """Assign, in order, in ``names``."""
        for line in lines:
            if not isinstance(line, ast.Assign) or not isinstance(line.targets[0], ast.Name):
                raise TypeError(f"no assignment: {ast.unparse(line)}")
            names[line.targets[0].id] = self.value(line.value, names)

    def value(self, node: ast.expr, names: dict[str, Any]) -> Any:
        """The vector of an expression; a vector of bits if it is a condition."""
        b = self.builder
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not used & names.keys():
            return self.constant(_number(node, self.known))
        if isinstance(node, ast.Name):
            return names[node.id]
        if isinstance(node, ast.BinOp):
            one, two = self.value(node.left, names), self.value(node.right, names)
            kinds = {ast.Add: b.fadd, ast.Sub: b.fsub, ast.Mult: b.fmul, ast.Div: b.fdiv, ast.BitAnd: b.and_}
            return {**kinds, ast.BitOr: b.or_}[type(node.op)](one, two)
        if isinstance(node, ast.Compare):
            one, two = self.value(node.left, names), self.value(node.comparators[0], names)
            how = COMPARE[type(node.ops[0])]
            return (b.fcmp_unordered if how == "!=" else b.fcmp_ordered)(how, one, two)
        if isinstance(node, ast.IfExp):
            return b.select(*(self.value(part, names) for part in (node.test, node.body, node.orelse)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return b.fneg(self.value(node.operand, names))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("abs", "np.floor"):
            name = {"abs": "llvm.fabs", "np.floor": "llvm.floor"}[ast.unparse(node.func)]
            kind = ir.FunctionType(self.vectors.vector, [self.vectors.vector])
            function = cgutils.get_or_insert_function(b.module, kind, f"{name}.{self.vectors.suffix[:-3]}")
            return b.call(function, [self.value(node.args[0], names)])
        raise TypeError(f"no vectors for: {ast.unparse(node)}")


class _Part:
    """The places of one vector of a cell; ``mask`` is None if all its lanes are neurons."""

    def __init__(self, vectors: Vectors, k: Any, mask: Any) -> None:
        self.vectors, self.k, self.mask = vectors, k, mask

    def load(self, base: Any) -> Any:
        v, place = self.vectors, self.vectors.place(base, self.k)
        return v.load(place) if self.mask is None else v.masked("load", self.mask, place)

    def store(self, base: Any, value: Any) -> None:
        v, place = self.vectors, self.vectors.place(base, self.k)
        if self.mask is None:
            v.store(value, place)
        else:
            v.masked("store", self.mask, place, value)

    def living(self, condition: Any) -> Any:
        """A condition, where there are neurons."""
        return condition if self.mask is None else self.vectors.builder.and_(condition, self.mask)


def _number(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """The value of an expression of constants: a name, a literal, a type of numpy applied to one."""
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand, known)
    if isinstance(node, ast.Attribute):
        return getattr(np, node.attr)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return getattr(np, node.func.attr)(_number(node.args[0], known))
    raise TypeError(f"no constant: {ast.unparse(node)}")


def _constants(lines: Sequence[str]) -> dict[str, Any]:
    """The constants that lines ``name, .. = value, ..`` define."""
    known: dict[str, Any] = {}
    for line in ast.parse("\n".join(lines)).body:
        if not isinstance(line, ast.Assign):
            raise TypeError(f"no constant: {ast.unparse(line)}")
        one, two = line.targets[0], line.value
        names = one.elts if isinstance(one, ast.Tuple) else [one]
        values = two.elts if isinstance(two, ast.Tuple) else [two]
        known |= {ast.unparse(name): _number(value, known) for name, value in zip(names, values, strict=True)}
    return known


def _function(
    name: str,
    arrays: Sequence[str],
    scalars: Sequence[str],
    result: Any,
    body: Callable[[Vectors, dict[str, Any], Any, dict[str, Any]], Any],
) -> Any:
    """An intrinsic ``name(array, at, array, at, .., count, extra, scalar, ..)``; ``body`` builds a function of its own.

    The first array says which type of number the vectors hold.
    """

    def typed(*arguments: Any) -> Any:
        number = arguments[0].dtype
        kinds = [k for a in arguments[: 2 * len(arrays) : 2] for k in (a, types.intp)]
        signature = result(*kinds, types.intp, types.intp, *(number for _ in scalars))

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            v = Vectors(context, builder, number)
            pointers = [v.data(signature.args[2 * j], values[2 * j], values[2 * j + 1]) for j in range(len(arrays))]
            count, extra, *numbers = values[2 * len(arrays) :]
            given = [*pointers, count, extra, *numbers]
            returned = ir.VoidType() if result == types.void else ir.ArrayType(WORD, len(result))
            inner = builder.module.globals.get(name)
            if inner is None:
                inner = ir.Function(builder.module, ir.FunctionType(returned, [a.type for a in given]), name)
                inner.linkage = "internal"
                inner.attributes.add("noinline" if result == types.void else "alwaysinline")
                inside = Vectors(context, ir.IRBuilder(inner.append_basic_block()), number)
                rest = dict(zip(scalars, inner.args[len(arrays) + 2 :], strict=True))
                splat = {key: inside.splat(x, inside.element) for key, x in rest.items()}
                places = dict(zip(arrays, inner.args, strict=False))
                body(inside, places, inner.args[len(arrays) : len(arrays) + 2], splat)
            out = builder.call(inner, given)
            return context.get_dummy_value() if result == types.void else out

        return signature, generate

    names = [a for array in arrays for a in (array, f"at_{array}")] + ["count", "extra", *scalars]
    text = f"def {name}(typing_context, {', '.join(names)}):\n    return typed({', '.join(names)})\n"
    space: dict[str, Any] = {"typed": typed}
    exec(text, space)
    return intrinsic(space[name])


def cell_step(
    lines: str,
    current: str,
    states: Sequence[str],
    wide: Sequence[str],
    scalars: Sequence[str],
    masks: Sequence[str],
    constants: Sequence[str],
) -> Any:
    """``step(current, at, state, at, .., wide, at, .., count, 0, scalar, ..)``: a tick of ``count`` <= 64 neurons.

    Arguments:
        lines: source of the tick on names.
        current, states, wide, scalars: what the lines read; the current is left 0, states are written back.
        masks: names of conditions.
        constants: source of the module's constants.

    Returns:
        An intrinsic that returns a word for each of ``masks``, a bit per neuron.
    """

    def body(v: Vectors, places: dict[str, Any], given: Any, splat: dict[str, Any]) -> None:
        found = [cgutils.alloca_once_value(v.builder, ir.Constant(WORD, 0)) for _ in masks]

        def took(parts: list[_Part], lanes: list[Any]) -> None:
            b = v.builder
            for word, bits in zip(found, lanes, strict=True):
                wide_bits = bits if bits.type == WORD else b.zext(bits, WORD)
                b.store(b.or_(b.load(word), b.shl(wide_bits, parts[0].k)), word)

        _tick(v, lines, (current, states, wide, masks), constants, places, given[0], splat, took)
        out = ir.Constant(ir.ArrayType(WORD, len(masks)), ir.Undefined)
        for j, word in enumerate(found):
            out = v.builder.insert_value(out, v.builder.load(word), j)
        v.builder.ret(out)

    return _function("cell_step", (current, *states, *wide), scalars, types.UniTuple(types.uint64, len(masks)), body)


def row_step(
    lines: str,
    current: str,
    states: Sequence[str],
    wide: Sequence[str],
    scalars: Sequence[str],
    masks: Sequence[str],
    constants: Sequence[str],
) -> Any:
    """``step(current, at, state, at, .., wide, at, .., mask, 0, .., count, 0, scalar, ..)``: a tick of many neurons.

    As :func:`cell_step`, but the bits go into arrays of words, one per name in ``masks``, neuron after neuron.
    """

    def body(v: Vectors, places: dict[str, Any], given: Any, splat: dict[str, Any]) -> None:
        def took(parts: list[_Part], lanes: list[Any]) -> None:
            b = v.builder
            for name, bits in zip(masks, lanes, strict=True):
                base = b.bitcast(places[f"bits_{name}"], ir.IntType(8).as_pointer())
                place = b.gep(base, [b.lshr(parts[0].k, ir.Constant(WORD, 3))])
                b.store(bits, b.bitcast(place, bits.type.as_pointer()), align=1)

        _tick(v, lines, (current, states, wide, masks), constants, places, given[0], splat, took)
        v.builder.ret_void()

    arrays = (current, *states, *wide, *(f"bits_{name}" for name in masks))
    return _function("row_step", arrays, scalars, types.void, body)


def _tick(
    v: Vectors,
    lines: str,
    names: tuple[str, Sequence[str], Sequence[str], Sequence[str]],
    constants: Sequence[str],
    places: dict[str, Any],
    count: Any,
    splat: dict[str, Any],
    took: Callable[[list[_Part], list[Any]], None],
) -> None:
    """A tick of ``count`` neurons, vector by vector; ``took`` gets the bits of a few of them."""
    current, states, wide, masks = names
    tree, known = ast.parse(lines).body, _constants(constants)

    def run(parts: list[_Part]) -> None:
        found = []
        for part in parts:
            values = splat | {key: part.load(places[key]) for key in (current, *states, *wide)}
            translator = _Translator(v, known)
            part.store(places[current], translator.constant(0))
            translator.run(tree, values)
            for state in states:
                part.store(places[state], values[state])
            found.append([part.living(values[condition]) for condition in masks])
        took(parts, [_joined(v, list(conditions)) for conditions in zip(*found, strict=True)])

    v.loop(count, lambda k, mask: run([_Part(v, k, mask)]), lambda ks: run([_Part(v, k, None) for k in ks]))


def _joined(v: Vectors, conditions: list[Any]) -> Any:
    """Conditions of one, two or four vectors as an integer of a bit per lane."""
    b = v.builder
    while len(conditions) > 1:
        lanes = 2 * conditions[0].type.count
        order = ir.Constant(ir.VectorType(SHORT, lanes), list(range(lanes)))
        conditions = [
            b.shuffle_vector(one, two, order) for one, two in zip(conditions[::2], conditions[1::2], strict=True)
        ]
    return b.bitcast(conditions[0], ir.IntType(conditions[0].type.count))


def cell_skip(
    lines: str,
    current: str,
    states: Sequence[str],
    wide: Sequence[str],
    scalars: Sequence[str],
    constants: Sequence[str],
) -> Any:
    """``skip(state, at, .., wide, at, .., count, ticks, scalar, ..)``: silent ticks of ``count`` neurons, one by one.

    Arguments as of :func:`cell_step`; the current is 0. It ends early when a tick changes no bit of its vectors: no
    later one would.
    """
    tree, known = ast.parse(lines).body, _constants(constants)

    def body(v: Vectors, places: dict[str, Any], given: Any, splat: dict[str, Any]) -> None:
        b = v.builder
        count, ticks = given
        whole = ir.VectorType(ir.IntType(8 * v.size), v.lanes)

        def run(parts: list[_Part]) -> None:
            held = [{s: cgutils.alloca_once_value(b, p.load(places[s])) for s in states} for p in parts]
            fixed = [{key: p.load(places[key]) for key in wide} for p in parts]
            left = cgutils.alloca_once_value(b, ticks)
            again, done = b.append_basic_block(), b.append_basic_block()
            b.branch(again)
            b.position_at_end(again)
            changed: Any = ir.Constant(ir.VectorType(ir.IntType(1), v.lanes), [0] * v.lanes)
            for state, values in zip(held, fixed, strict=True):
                translator = _Translator(v, known)
                old = {s: b.load(place) for s, place in state.items()}
                names = splat | values | old | {current: translator.constant(0)}
                translator.run(tree, names)
                for s, place in state.items():
                    b.store(names[s], place)
                    apart = b.icmp_unsigned("!=", b.bitcast(names[s], whole), b.bitcast(old[s], whole))
                    changed = b.or_(changed, apart)
            rest = b.sub(b.load(left), ir.Constant(WORD, 1))
            b.store(rest, left)
            lanes = ir.IntType(v.lanes)
            more = b.icmp_unsigned("!=", b.bitcast(changed, lanes), ir.Constant(lanes, 0))
            b.cbranch(b.and_(more, b.icmp_signed(">", rest, ir.Constant(WORD, 0))), again, done)
            b.position_at_end(done)
            for p, state in zip(parts, held, strict=True):
                for s, place in state.items():
                    p.store(places[s], b.load(place))

        v.loop(count, lambda k, mask: run([_Part(v, k, mask)]), lambda ks: run([_Part(v, k, None) for k in ks]))
        b.ret_void()

    return _function("cell_skip", (*states, *wide), scalars, types.void, body)


@intrinsic
def ones_of(typing_context: Any, word: Any) -> Any:
    """How many bits of a word are 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def first_of(typing_context: Any, word: Any) -> Any:
    """The lowest bit of a word that is 1; of 0 it is 64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
