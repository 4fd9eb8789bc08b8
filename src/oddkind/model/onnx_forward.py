"""`OnnxForward`: a trained network as an ONNX graph, run by onnxruntime; it needs no torch."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.forward import run_in_batches

GRAPH = "onnx"
"""Name of the array that holds the graph, among the weights of a member."""

# Control flow may run for ever, and a sequence may grow without a bound; no network of ours has them.
FORBIDDEN = frozenset({"If", "Loop", "Scan", "SequenceMap", "SequenceInsert", "ConcatFromSequence", "SplitToSequence"})


class OnnxForward:
    """A trained network with its known transforms, as a graph that `oddkind export` made.

    Parameters
    ----------
    graph : bytes
        An ONNX model: standardised inputs [N, …] → logits [N, V, C], features [N, V, D] and, if the network has local
        features, those of the first view, [N, K, H', W']. Its further inputs, if any, are weights by their names: then
        networks of one form have the same graph, and share the session that runs it.
    description : mapping
        That of the torch network.
    torch_weights : mapping of arrays
        Those of the torch network; saved again with the graph.

    Raises
    ------
    InputError
        If the graph uses control flow, operators that ONNX does not define or data in other files, or onnxruntime
        refuses it or is not installed.
    """

    def __init__(self, graph: bytes, description: Mapping[str, Any], torch_weights: Mapping[str, Array]) -> None:
        self.graph, self._description, self._torch_weights = graph, description, torch_weights
        self._inputs = check_graph(graph)

    def __call__(self, inputs: Array) -> tuple[Array, Array]:
        """Run standardised inputs [N, …]; return logits [N, V, C] and features [N, V, D] of the views scored."""
        logits, features = self._run(inputs, slice(2))
        return logits, features

    def local_features(self, inputs: Array) -> Array | None:
        """Return what a map of standardised pictures [N, …] is made of, [N, K, H', W']; None if it has no places."""
        return self._run(inputs, slice(2, 3))[0] if len(self._session.get_outputs()) > 2 else None

    def _run(self, inputs: Array, which: slice) -> list[Array]:
        outputs, (reads, *others) = self._session.get_outputs(), [one.name for one in self._session.get_inputs()]
        names = [output.name for output in outputs[which]]
        absent = [name for name in others if name not in self._torch_weights]
        if absent:
            raise InputError(f"the ONNX graph of the network reads {absent[0]!r}, which is missing; save it again")
        weights = {name: self._torch_weights[name] for name in others}

        def run(part: Array) -> list[Array]:
            try:
                return list(self._session.run(names, weights | {reads: part}))
            except Exception as error:  # onnxruntime's exceptions have no common base of their own
                raise InputError(f"the ONNX graph of the network cannot be run ({_first_line(error)})") from error

        return run_in_batches(run, inputs, outputs[0].shape[1])

    def describe(self) -> Mapping[str, Any]:
        """Return the names of the network and of the transform."""
        return self._description

    def weights(self) -> Mapping[str, Array]:
        """Return the weights of the torch network, and the graph as bytes."""
        return {**self._torch_weights, GRAPH: np.frombuffer(self.graph, np.uint8)}

    @cached_property
    def _session(self) -> Any:
        return _shared_session(self.graph) if self._inputs > 1 else _session_of(self.graph)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session out: it is opened again in the process that the object lands in."""
        return {name: value for name, value in vars(self).items() if name != "_session"}


def _session_of(graph: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"onnxruntime cannot be imported ({error}); install it: pip install oddkind") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads use no processor
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # as above
        raise InputError(f"the ONNX graph of the network cannot be run ({_first_line(error)})") from error
    shapes = [node.shape for node in session.get_outputs()]
    if not session.get_inputs() or [*map(len, shapes)] not in ([3, 3], [3, 3, 4]):
        raise InputError("the ONNX graph of the network does not return logits [N, V, C] and features [N, V, D]")
    if not isinstance(shapes[0][1], int):
        raise InputError("the ONNX graph of the network does not say how many views it returns")
    return session


# Opening a session takes longer than all else that it takes to read a small model.
_shared_session = functools.lru_cache(maxsize=16)(_session_of)


def restore_graph(description: Mapping[str, Any], weights: Mapping[str, Array]) -> OnnxForward:
    """Build a network from what `OnnxForward.describe` and `OnnxForward.weights` returned."""
    graph = weights[GRAPH]
    if graph.dtype != np.uint8 or graph.ndim != 1:
        raise InputError(f"the ONNX graph is {graph.dtype} {graph.shape}; it must be bytes")
    return OnnxForward(graph.tobytes(), description, {name: one for name, one in weights.items() if name != GRAPH})


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


# --- what a graph may contain ---
#
# A file may come from anywhere, so a graph is looked through before onnxruntime sees it. The numbers of the fields are
# those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).


@functools.lru_cache(maxsize=16)
def check_graph(content: bytes) -> int:
    """Refuse an ONNX model with control flow, operators of other domains, own functions or data outside the file.

    Returns the number of its inputs.

    Raises
    ------
    InputError
        If there are any, or the bytes are not a protocol buffer.
    """
    try:
        (graph,) = (value for field, value in _fields(content) if field == 7)
        if any(field == 25 for field, _ in _fields(content)):
            raise InputError("the ONNX graph of the network defines functions; export the model again")
        for field, value in _fields(graph):
            if field == 1:
                _check_node(value)
            elif field == 5 and any(number in (13, 14) for number, _ in _fields(value)):
                raise InputError("the ONNX graph of the network refers to other files; export the model again")
            elif field == 15:
                raise InputError("the ONNX graph of the network holds sparse tensors; export the model again")
        return sum(field == 11 for field, _ in _fields(graph))
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the ONNX graph of the network is damaged; export the model again") from error


def _check_node(node: Any) -> None:
    operator, domain = "", ""
    for field, value in _fields(node):
        if field == 4:
            operator = bytes(value).decode()
        elif field == 7:
            domain = bytes(value).decode()
        elif field == 5:
            for number, attribute in _fields(value):
                if number in (6, 11):
                    raise InputError(f"operator {operator!r} of the ONNX graph holds a graph; export the model again")
                if number == 5 and any(which in (13, 14) for which, _ in _fields(attribute)):
                    raise InputError("the ONNX graph of the network refers to other files; export the model again")
    if domain not in ("", "ai.onnx") or operator in FORBIDDEN:
        raise InputError(f"operator {domain}{'.' * bool(domain)}{operator} of the ONNX graph is not allowed")


def _fields(message: Any) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a protocol buffer; the value of a nested message or a string is its bytes."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(view, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(view, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("unknown kind of field")
        if at + length > len(view):
            raise ValueError("a field ends after its message")
        yield key >> 3, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")
