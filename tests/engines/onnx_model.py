"""ONNX exports in ONNX Runtime and OpenVINO, and their weights as ONNX Runtime reads them. For .venv-engines."""
import json
import math

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.numpy_helper import to_array
from run_codes import Weight


def session(model, entries=(), optimized=None):
    """model: a path, or bytes. `entries`: of its configuration; `optimized`: the graph is left there."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    for key, value in entries:
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def session_of(folder, model="model.onnx", optimized=None):
    """With the options of genai_config.json. Without them int8 weights get 8-bit activations (0.04 of the largest), and
    products of codes saturate on processors without VNNI."""
    config = json.loads((folder / "genai_config.json").read_text())
    entries = {key: value for key, value in config["model"]["decoder"]["session_options"].items()
               if key.startswith("session.")}
    if model != "model.onnx":
        # Without pairs there are no products of codes, and onnxruntime 1.31 fails with the option.
        entries.pop("session.x64quantprecision", None)
    return session(str(folder / model), entries.items(), optimized)


def feeds(ports, ids, cache):
    """ports: name -> shape; ids [tokens] behind the cache."""
    past = next(iter(cache.values())).shape[2] if cache else 0
    fed = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, past + len(ids)), np.int64)}
    for name, shape in ports.items():
        if name.startswith("past_key_values."):
            empty = np.zeros((1, shape[1], 0, shape[3]), np.float32)
            fed[name] = cache.get(name.replace("past_key_values", "present"), empty)
    return fed


def forward(model, ids, cache):
    """Logits of ids [tokens] behind the cache, and the longer cache."""
    names = [port.name for port in model.get_outputs()]
    ports = {port.name: port.shape for port in model.get_inputs()}
    out = dict(zip(names, model.run(names, feeds(ports, ids, cache)), strict=True))
    return out.pop("logits")[0], out


def in_onnx_runtime(folder, model="model.onnx", optimized=None):
    opened = session_of(folder, model, optimized)
    return lambda ids: forward(opened, ids, {})[0]


def in_openvino(folder):
    import openvino
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(str(folder / "model.onnx"), "CPU")
    ports = {port.any_name: [d.get_length() if d.is_static else 0 for d in port.partial_shape]
             for port in model.inputs}

    def logits(ids):
        request = model.create_infer_request()
        request.infer(feeds(ports, ids, {}))
        return request.get_tensor("logits").data[0]
    return logits


ENGINES = {"ONNX Runtime": in_onnx_runtime, "OpenVINO": in_openvino}


def perplexity(logits_of, windows):
    nll, tokens = 0.0, 0
    for window in windows:
        z = logits_of(window[:-1]).astype(np.float64)
        z -= z.max(-1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        nll -= float(logp[np.arange(len(z)), window[1:]].sum())
        tokens += len(z)
    return math.exp(nll / tokens), tokens


def run_alone(node, given, output):
    """What ONNX Runtime makes of one node whose inputs are all known."""
    tensors = [helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.tobytes(), raw=True)
               for name, a in given.items()]
    graph = helper.make_graph([node], "one", [],
                              [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], tensors)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21),
                                                                   helper.make_opsetid("com.microsoft", 1)])
    return session(model.SerializeToString()).run(None, {})[0]


def product_with_identity(node, stored, scales):
    """The matrix behind MatMulNBits, [out, in]: every sum has one term."""
    columns = next(a.i for a in node.attribute if a.name == "K")
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[0], alone.output[0] = "identity", "product"
    given = {"identity": np.eye(columns, dtype=np.float32), node.input[1]: stored[node.input[1]],
             node.input[2]: scales}
    given |= {name: stored[name] for name in node.input[3:] if name}
    return run_alone(alone, given, "product").T


def dequantized(node, stored, scales):
    """[out, in]; QDQ's matrices lie the other way."""
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.output[0] = "decoded"
    return run_alone(alone, {node.input[0]: stored[node.input[0]], node.input[1]: scales}, "decoded").T


def scale_rows(scales, rows):
    """[out, groups], whether a group, a row or the matrix shares one."""
    if scales.ndim == 2:
        return scales.T
    return np.broadcast_to(scales.reshape(-1, 1), (rows, 1))


def read_onnx(folder):
    """name -> Weight. Codes are what ONNX Runtime makes of the matrix when its scales are 1."""
    graph = onnx.load(folder / "model.onnx").graph
    stored = {t.name: to_array(t) for t in graph.initializer}
    weights = {}
    for node in graph.node:
        nbits = node.op_type == "MatMulNBits"
        if not nbits and node.op_type != "DequantizeLinear":
            continue
        decode, at = (product_with_identity, 1) if nbits else (dequantized, 0)
        name = node.input[at]
        if name not in stored:
            continue  # the codes of an input
        scales = stored[node.input[at + 1]]
        values = decode(node, stored, scales)
        codes = decode(node, stored, np.ones_like(scales))
        rows = scales.reshape(len(values), -1) if nbits else scale_rows(scales, len(values))
        weights[name] = Weight(values, codes, rows)
    for name, values in stored.items():
        if name.endswith(".weight") and name not in weights:
            weights[name] = Weight(values.astype(np.float32))
    return weights
