"""The one family of exceptions: every message names what was wrong, what was found and what was expected.

The command line prints the message on one line and exits with ``exit_code``: 2 for the user's mistake, 1 for a failure.
"""

from __future__ import annotations


class NeuroaccelError(Exception):
    """Base of every error that neuroaccel raises on purpose."""

    exit_code = 1


class InputError(NeuroaccelError, ValueError):
    """The user's mistake: a bad value, file, name or option."""

    exit_code = 2


class ProgramError(InputError):
    """A neuron program that is not well formed."""


class GraphError(InputError):
    """A graph that does not validate; the message names the node or edge."""


class FileFormatError(InputError):
    """A file that is truncated, foreign, newer than this reader, or inconsistent."""


class EventsError(InputError):
    """Events outside the sensor, out of order, or of the wrong type."""


class RecipeError(InputError):
    """An unknown recipe, or a configuration that does not fit its schema."""


class StateError(InputError):
    """A state that does not belong to the layer, batch or graph it is given to."""


class CacheError(NeuroaccelError):
    """The data cache cannot be written: a full or read-only disk; the message names the file and what to do."""


class UnsupportedNode(NeuroaccelError):
    """An executor or exporter cannot hold a node; says which, who, why and what to do.

    Arguments:
        node: name of the node in its graph.
        executor: the executor or exporter that refuses.
        reason: why, and what to do instead.
    """

    exit_code = 2

    def __init__(self, node: str, executor: str, reason: str) -> None:
        super().__init__(f"{executor} cannot hold node '{node}': {reason}")
        self.node, self.executor, self.reason = node, executor, reason


class DataUnavailable(NeuroaccelError):
    """A data set is not there and cannot be downloaded; the message says which file to put where."""


class WorkerFailure(NeuroaccelError):
    """A process that loads data died; the message says which, and how."""


class ExecutorUnavailable(NeuroaccelError):
    """An executor is not installed here; the message says how to get it."""


class ExecutorFailure(NeuroaccelError):
    """An executor started and then failed, hung or returned nonsense."""


class ImbalanceError(NeuroaccelError):
    """The ledger's books do not balance: an operation has no fate, or two."""


class MissingExtra(NeuroaccelError, ImportError):
    """An optional dependency is missing; the message holds the pip command."""

    exit_code = 2
