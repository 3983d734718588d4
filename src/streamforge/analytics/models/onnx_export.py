"""A published attention network as a file of ONNX, for programs that have neither StreamForge nor torch.

Made from the trained arrays, so it needs no torch.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from streamforge.analytics.models.model_file import read_model
from streamforge.analytics.models.training_parameters import ModelKind
from streamforge.analytics.packages import require
from streamforge_utils.model.errors import InvalidInput

INPUTS = ("features", "neighbours", "unused")
_OPERATIONS, _FORMAT = 17, 8  # of ONNX 1.12: whatever runs networks today knows them
_SLOPE = 0.2


def onnx_of(content: bytes, name: str) -> bytes:
    """The network of a file of safetensors, which the object `name` holds; equal ones have equal files.

    It takes of one moment `features` (float32, a row for each coin: centred ranks, by the names in the metadata),
    `neighbours` (int64, of each coin as many rows: its own, those of the coins whose edges lead to it, its own again),
    and `unused` (bool: where that is so), and gives `scores`. Raises ConfigError (no onnx), InvalidInput for a model
    that is no network, and what `read_model` raises.
    """
    require("a file of ONNX", {"onnx": "onnx"})
    from onnx import TensorProto, checker, helper, numpy_helper

    head, state = read_model(content, name)
    if head.parameters.model is not ModelKind.GAT:
        raise InvalidInput(
            "output",
            f"model {head.name} is {head.parameters.model.value}, which is linear: the weights in its .safetensors are "
            "all of it; export that",
        )
    nodes, constants = list[Any](), list[Any]()

    def constant(values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), f"constant_{len(constants)}"))
        return str(constants[-1].name)

    def node(operation: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operation, [*inputs], [f"{operation}_{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    one, two, unseen = (constant(np.array(value)) for value in ([1], [2], np.float32(-np.inf)))
    found, layer = INPUTS[0], 0
    while f"{layer}.left" in state:
        weights = {part: state[f"{layer}.{part}"] for part in ("left", "right", "own", "score", "bias")}
        heads, width = weights["score"].shape
        of_head = np.kron(np.eye(heads, dtype=np.float32), np.ones((1, width), dtype=np.float32))
        by_head = of_head.T * weights["score"].reshape(-1, 1)
        left, right, own = (node("MatMul", found, constant(weights[part])) for part in ("left", "right", "own"))
        picked = node("Gather", left, INPUTS[1], axis=0)
        active = node("LeakyRelu", node("Add", picked, node("Unsqueeze", right, one)), alpha=_SLOPE)
        told = node("MatMul", active, constant(by_head))
        shares = node("Softmax", node("Where", node("Unsqueeze", INPUTS[2], two), unseen, told), axis=1)
        heard = node("ReduceSum", node("Mul", picked, node("MatMul", shares, constant(of_head))), one, keepdims=0)
        found = node("Elu", node("Add", heard, node("Add", own, constant(weights["bias"]))))
        layer += 1
    scores = node("MatMul", found, constant(state["last.weights"]))
    nodes.append(helper.make_node("Add", [scores, constant(state["last.bias"])], ["scores"]))
    columns = state["0.left"].shape[0]
    kinds = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL)
    shapes = (["coins", columns], ["coins", "places"], ["coins", "places"])
    inputs = [helper.make_tensor_value_info(*one) for one in zip(INPUTS, kinds, shapes, strict=True)]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["coins"])]
    graph = helper.make_graph(nodes, head.name, inputs, outputs, constants)
    operations = [helper.make_opsetid("", _OPERATIONS)]
    model = helper.make_model(graph, producer_name="streamforge", opset_imports=operations, ir_version=_FORMAT)
    features = msgspec.json.encode(head.dataset.graph.features).decode()
    helper.set_model_props(model, {"features": features, "model": head.name, "run_id": head.run_id})
    checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written
