"""Lava processes of a bundle.

Dense, Conv and LIF are Lava's own, with their arithmetic inherited unchanged; what the subclasses add is the window: a
run holds the samples one after another in windows of ``period`` steps; at the start of a window every process is fresh,
and a neuron whose first tick comes ``start`` steps later stays fresh and silent until then. Neurons record themselves:
one operating system process fewer for every recorded value.
"""

import os
import traceback

import numpy as np
from interpreter import FloatProgram, IntegerProgram
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.models import PyConvModelFixed, PyConvModelFloat
from lava.proc.conv.process import Conv
from lava.proc.dense.models import PyDenseModelBitAcc, PyDenseModelFloat
from lava.proc.dense.process import Dense
from lava.proc.lif.models import PyLifModelBitAcc, PyLifModelFloat
from lava.proc.lif.process import LIF


class Windowed:
    """What every model of a bundle shares: its place in the window, its records, and errors that do not get lost."""

    implements_process = None  # Lava lets a subclass implement another process only if its parent names none

    @property
    def window(self):
        return self.proc_params["window"]

    @property
    def tick(self):
        """The tick of this process's own clock: negative before its start, 0 at its first tick."""
        return (self.time_step - 1) % self.window["period"] - self.window["start"]

    @property
    def opens(self):
        """Whether this step is the first of a window."""
        return (self.time_step - 1) % self.window["period"] == 0

    def record(self, field, values):
        """Append one tick of one value to its file, flushed at the end of a sample."""
        files = self.__dict__.setdefault("_files", {})
        if not 0 <= self.tick < self.window["ticks"]:
            return
        if field not in files:
            path = os.path.join(self.window["records"], f"{self.window['index']}.{field}")
            files[field] = open(path, "wb")  # noqa: SIM115  (closed with its process)
        files[field].write(np.ascontiguousarray(values).tobytes())
        if self.tick == self.window["ticks"] - 1:
            files[field].flush()

    def _spike(self):
        try:
            super()._spike()
        except Exception:
            path = os.path.join(self.window["errors"], f"{self.window['index']}")
            with open(f"{path}.part", "w", encoding="utf-8") as stream:
                stream.write(f"process '{self.window['name']}':\n{traceback.format_exc()}")
            os.replace(f"{path}.part", path)
            raise


class WindowedDense(Dense):
    def __init__(self, *, window, **kwargs):
        super().__init__(**kwargs)
        self.proc_params["window"] = window


class _FreshDense(Windowed):
    def run_spk(self):
        if self.opens:
            self.a_buff = np.zeros_like(self.a_buff)
        super().run_spk()


@implements(proc=WindowedDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class DenseFloat(_FreshDense, PyDenseModelFloat):
    pass


@implements(proc=WindowedDense, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class DenseFixed(_FreshDense, PyDenseModelBitAcc):
    pass


class WindowedConv(Conv):
    def __init__(self, *, window, **kwargs):
        super().__init__(**kwargs)
        self.proc_params["window"] = window


class _FreshConv(Windowed):
    def run_spk(self):
        if self.opens:
            self.a_buf = np.zeros_like(self.a_buf)
        super().run_spk()


@implements(proc=WindowedConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class ConvFloat(_FreshConv, PyConvModelFloat):
    pass


@implements(proc=WindowedConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ConvFixed(_FreshConv, PyConvModelFixed):
    pass


class Dendrite(AbstractProcess):
    """What W and V make of one input, in the same step: i = (y * z + y) + b, each operation rounded."""

    def __init__(self, *, size, bias, window):
        super().__init__(bias=bias, window=window)
        self.y_in = InPort(shape=(size,))
        self.z_in = InPort(shape=(size,))
        self.a_out = OutPort(shape=(size,))


@implements(proc=Dendrite, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class DendriteFloat(Windowed, PyLoihiProcessModel):
    y_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    z_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)

    def run_spk(self):
        y, z = self.y_in.recv(), self.z_in.recv()
        current = y * z + y
        self.a_out.send(current if self.tick < 0 else current + self.proc_params["bias"])


class WindowedLIF(LIF):
    def __init__(self, *, window, **kwargs):
        super().__init__(**kwargs)
        self.proc_params["window"] = window


class _HeldLIF(Windowed):
    def subthr_dynamics(self, activation_in):
        self.record("i", activation_in)
        super().subthr_dynamics(activation_in)

    def run_spk(self):
        if self.tick <= 0:
            self.u[:] = 0
            self.v[:] = 0
        if self.tick < 0:
            self.a_in.recv()
            self.s_out.send(np.zeros(self.v.shape, dtype=bool))
            return
        super().run_spk()
        self.record("spikes", self.s_out_buff.astype(np.uint8))
        for state in self.window["states"]:
            self.record(state, getattr(self, state))


@implements(proc=WindowedLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class LIFFloat(_HeldLIF, PyLifModelFloat):
    pass


@implements(proc=WindowedLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class LIFFixed(_HeldLIF, PyLifModelBitAcc):
    pass


class ProgramNeuron(AbstractProcess):
    """Neurons that Lava's LIF does not hold: the bundle's own model runs their program."""

    def __init__(self, *, size, window, program, values, integer):
        super().__init__(program=program, values=values, integer=integer, size=size, window=window)
        self.a_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class _Program(Windowed):
    def run_spk(self):
        if "_neurons" not in self.__dict__:
            p = self.proc_params
            if p["integer"] is None:
                self._neurons = FloatProgram(p["program"], p["values"], p["size"])
            else:
                self._neurons = IntegerProgram(p["program"], p["values"], p["size"], **p["integer"])
        current = self.a_in.recv()
        if self.tick <= 0:
            self._neurons.reset()
        if self.tick < 0:
            self.s_out.send(np.zeros(current.shape))
            return
        emitted = self._neurons.tick(current)
        self.s_out.send(emitted)
        self.record("i", current)
        self.record("spikes", emitted.astype(np.dtype(self.window["emits"])))
        for name, value in self._neurons.recorded().items():
            self.record(name, value)


@implements(proc=ProgramNeuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class ProgramFloat(_Program, PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=ProgramNeuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ProgramFixed(_Program, PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


class DelayLine(AbstractProcess):
    """What arrived ``ticks`` steps ago, per element; zero before. It sends first, so it may stand in a cycle."""

    def __init__(self, *, size, ticks, window):
        super().__init__(size=size, ticks=ticks, window=window)
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


class _Delay(Windowed):
    def run_spk(self):
        ticks = self.proc_params["ticks"]
        depth = int(ticks.max())
        if self.opens:
            self._line = np.zeros((depth, ticks.size))
        now = self.time_step % depth
        element = np.arange(ticks.size)
        self.s_out.send(self._line[(now - ticks) % depth, element])
        self._line[now] = self.s_in.recv()


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class DelayFloat(_Delay, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class DelayFixed(_Delay, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


class Relay(AbstractProcess):
    """Passes on, in the same step, the sum (or mean) of the entries ``index[o]`` of what arrives (-1: nothing)."""

    def __init__(self, *, size, index, divide, window):
        super().__init__(index=index, divide=divide, window=window)
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(index.shape[0],))


class _Relay(Windowed):
    def run_spk(self):
        arrived = np.append(self.s_in.recv(), 0)
        total = arrived[self.proc_params["index"]].sum(axis=1)
        divide = self.proc_params["divide"]
        self.s_out.send(total if divide == 1 else total / divide)


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class RelayFloat(_Relay, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class RelayFixed(_Relay, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


class Sink(AbstractProcess):
    """Records what arrives."""

    def __init__(self, *, size, window):
        super().__init__(window=window)
        self.s_in = InPort(shape=(size,))


class _Sink(Windowed):
    def run_spk(self):
        self.record("values", self.s_in.recv())


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class SinkFloat(_Sink, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SinkFixed(_Sink, PyLoihiProcessModel):
    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
