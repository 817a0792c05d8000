"""A neuron program in numpy: float64, or the integer arithmetic that its node carries."""

import math

import numpy as np

_FLOAT = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "abs": np.abs,
    "floor": np.floor,
    "copy": np.positive,
    "flush": np.positive,  # flushing belongs to float32
}
_COMPARE = {
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
}


class FloatProgram:
    """A population in float64: every operation rounded on its own.

    Arguments:
        program: the program as JSON.
        values: parameter and derived name -> array, scalar or one value per neuron.
        size: number of neurons.
    """

    dtype = np.float64

    def __init__(self, program, values, size):
        self.program = program
        self.values = {k: np.asarray(v, dtype=np.float64) for k, v in values.items()}
        self.size = size
        self.reset()

    def _fresh(self, fresh):
        value = self.values[fresh] if isinstance(fresh, str) else np.float64(fresh)
        return np.array(np.broadcast_to(value, (self.size,)))

    def reset(self):
        """Back to the fresh state."""
        self.states = {name: self._fresh(fresh) for name, fresh in self.program["states"]}

    def recorded(self):
        """What a trace holds of every state."""
        return self.states

    def _run(self, op, args):
        if op in _FLOAT:
            return _FLOAT[op](*args)
        if op in _COMPARE:
            return _COMPARE[op](*args).astype(np.float64)
        if op == "select":
            return np.where(args[0] != 0, args[1], args[2])
        return np.ldexp(args[0], int(args[1]))  # shift

    def tick(self, current):
        """One tick; returns what the neurons emit."""
        program, names = self.program, dict(self.values)
        names.update(self.states)
        names["i"] = np.asarray(current, dtype=np.float64)

        def read(operand):
            return names[operand] if isinstance(operand, str) else np.float64(operand)

        for target, op, args in program["body"]:
            names[target] = self._run(op, [read(a) for a in args])
        fired = np.zeros(self.size, dtype=bool)
        if program["fire"] is not None:
            left, op, right = program["fire"]
            fired = np.broadcast_to(_COMPARE[op](read(left), read(right)), (self.size,))
        for target, op, args in program["on_fire"]:
            names[target] = np.where(fired, self._run(op, [read(a) for a in args]), names[target])
        self.states = {name: np.array(np.broadcast_to(names[name], (self.size,))) for name, _ in program["states"]}
        kind, value, _ = program["emit"]
        if kind == "spike":
            return fired.astype(np.float64)
        if kind == "count":
            return np.where(fired, read(value), 0.0)
        return self.states[value]


def convert(value, frac, fixed):
    """Round away excess fraction bits, then apply the overflow rule: integers with ``fixed``'s fraction."""
    excess = frac - fixed["frac"]
    if excess <= 0:
        value = value << -excess
    elif fixed["rounding"] == "floor":
        value = value >> excess
    elif fixed["rounding"] == "toward_zero":
        value = np.sign(value) * (np.abs(value) >> excess)
    elif fixed["rounding"] == "half_up":
        value = (value + (1 << (excess - 1))) >> excess
    else:  # half_even
        low = value >> excess
        rest, half = value - (low << excess), 1 << (excess - 1)
        value = low + ((rest > half) | ((rest == half) & (low & 1 == 1)))
    bits, signed = fixed["bits"], fixed["signed"]
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    if fixed["overflow"] == "saturate":
        return np.clip(value, low, high)
    if fixed["overflow"] == "wrap":
        return ((value - low) & ((1 << bits) - 1)) + low
    if np.any((value < low) | (value > high)):
        raise OverflowError(f"a value left {bits} bits: [{value.min()}, {value.max()}]")
    return value


def _exact(number):
    """A float as (integer, fraction bits)."""
    frac = 0
    while number != math.floor(number):
        number, frac = number * 2, frac + 1
    return np.int64(number), frac


class IntegerProgram:
    """A population in int64: a value is (integers, fraction bits), and every assignment to a state is converted.

    Arguments:
        program: the program as JSON.
        values: parameter name -> array, as real numbers.
        size: number of neurons.
        state: format of the states, or None for exact.
        formats: parameter name -> format.
        frac: fraction bits of the current.
    """

    dtype = np.int64

    def __init__(self, program, values, size, state, formats, frac=0):
        self.program, self.size, self.state, self.frac = program, size, state, frac
        self.values = {}
        for name, value in values.items():
            bits = formats[name]["frac"]
            whole = np.ldexp(np.asarray(value, dtype=np.float64), bits)
            if np.any(whole != np.floor(whole)):
                raise ValueError(f"parameter {name} does not lie on its grid of 2^-{bits}")
            self.values[name] = (whole.astype(np.int64), bits)
        self.reset()

    def _store(self, value, frac):
        if self.state is None:
            return np.array(np.broadcast_to(value, (self.size,))), frac
        value = convert(np.asarray(value, dtype=np.int64), frac, self.state)
        return np.array(np.broadcast_to(value, (self.size,))), self.state["frac"]

    def reset(self):
        """Back to the fresh state."""
        self.states = {}
        for name, fresh in self.program["states"]:
            value, frac = self.values[fresh] if isinstance(fresh, str) else _exact(fresh)
            self.states[name] = self._store(value, frac)

    def recorded(self):
        """What a trace holds of every state: its integers."""
        return {name: value for name, (value, _) in self.states.items()}

    @staticmethod
    def _aligned(args):
        frac = max(f for _, f in args)
        return [v << (frac - f) for v, f in args], frac

    def _run(self, op, args):
        if op == "mul":
            return args[0][0] * args[1][0], args[0][1] + args[1][1]
        if op in ("copy", "flush"):
            return args[0]
        if op in ("neg", "abs"):
            return _FLOAT[op](args[0][0]), args[0][1]
        if op == "floor":
            value, frac = args[0]
            return (value >> frac if frac > 0 else value << -frac), 0
        if op == "shift":
            (value, frac), k = args[0], int(args[1][0])
            return (value << k if k >= 0 else value >> -k), frac
        if op == "select":
            (yes, no), frac = self._aligned(args[1:])
            return np.where(args[0][0] != 0, yes, no), frac
        values, frac = self._aligned(args)
        if op in _COMPARE:
            return _COMPARE[op](*values).astype(np.int64), 0
        return _FLOAT[op](*values), frac

    def tick(self, current):
        """One tick; returns what the neurons emit, as integers."""
        program, names = self.program, dict(self.values)
        names.update(self.states)
        names["i"] = (np.asarray(current, dtype=np.int64), self.frac)

        def read(operand):
            return names[operand] if isinstance(operand, str) else _exact(operand)

        def assign(target, value, frac):
            names[target] = self._store(value, frac) if target in self.states else (value, frac)

        for target, op, args in program["body"]:
            assign(target, *self._run(op, [read(a) for a in args]))
        fired = np.zeros(self.size, dtype=bool)
        if program["fire"] is not None:
            left, op, right = program["fire"]
            values, _ = self._aligned([read(left), read(right)])
            fired = np.broadcast_to(_COMPARE[op](*values), (self.size,))
        for target, op, args in program["on_fire"]:
            old = names[target]
            assign(target, *self._run(op, [read(a) for a in args]))
            names[target] = (np.where(fired, names[target][0], old[0]), old[1])
        self.states = {name: names[name] for name, _ in program["states"]}
        kind, value, _ = program["emit"]
        if kind == "spike":
            return fired.astype(np.int64)
        if kind == "count":
            return np.where(fired, read(value)[0], 0)
        return self.states[value][0]
