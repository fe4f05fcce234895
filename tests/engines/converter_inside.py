"""The converters of converter_test.py. For .venv-engines.

    converter_inside.py FORMAT DENSE FOLDER      DENSE: the run as --format hf; FOLDER/ours: terse's export

Answers the tensors that are equal byte for byte, both sizes and what terse adds on purpose, in bytes.
"""
import json
import os
import pathlib
import struct
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np  # noqa: E402
from run_codes import Weight, as_llama_cpp  # noqa: E402
from safetensors_file import read_safetensors  # noqa: E402

# ONNX Runtime's quantizers import an onnx_model of their own by its bare name.
sys.path.remove(str(pathlib.Path(__file__).resolve().parent))

PADDING = 32  # at most, of GGUF's data; the header of safetensors is padded to 8


def size(path):
    return path.stat().st_size


def safetensors_parts(path):
    """name -> type, shape, bytes; and the texts that stand in front of them."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    texts = header.pop("__metadata__", {})
    return {name: (t["dtype"], t["shape"], data[8 + length + t["data_offsets"][0]:8 + length + t["data_offsets"][1]])
            for name, t in header.items()}, texts


def texts_of_terse(texts):
    """Bytes of "terse.KEY":"TEXT", in the header."""
    return sum(len(json.dumps({k: v}, separators=(",", ":"), ensure_ascii=False).encode()) - 1
               for k, v in texts.items() if k.startswith("terse."))


def same_tensors(ours, theirs):
    (a, texts), (b, _) = safetensors_parts(ours), safetensors_parts(theirs)
    assert set(a) == set(b), set(a) ^ set(b)
    for name in a:
        assert a[name] == b[name], f"{name}: {a[name][:2]} and {b[name][:2]}, or other bytes"
    return len(a), texts_of_terse(texts)


def as_safetensors(dense, folder, form):
    """safetensors' own save_file."""
    from safetensors.torch import load_file, save_file
    save_file(load_file(dense / "model.safetensors"), folder / "theirs", metadata={"format": "pt"})
    equal, texts = same_tensors(folder / "ours", folder / "theirs")
    return {"equal": equal, "ours": size(folder / "ours"), "theirs": size(folder / "theirs"),
            "added": {"metadata": texts, "padding": 8}}


# Of a folder; the tokenizer's files are the same with and without codes.
MODEL_FILES = ("model.safetensors", "config.json", "generation_config.json")


def narrowed(model, types):
    """Parameters in the types that terse's file has for them."""
    import torch
    names = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
    for name, parameter in model.named_parameters():
        if name in types and types[name] in names:
            parameter.data = parameter.data.to(names[types[name]])


def folders(folder):
    equal, texts = same_tensors(folder / "ours/model.safetensors", folder / "theirs/model.safetensors")
    ours, theirs = (sum(size(folder / side / name) for name in MODEL_FILES) for side in ("ours", "theirs"))
    checksums = size(folder / "ours/terse.json")
    return {"equal": equal, "ours": ours + checksums, "theirs": theirs,
            "added": {"metadata": texts, "terse.json": checksums, "padding": 8}}


def types_of(path):
    return {name: t[0] for name, t in safetensors_parts(path)[0].items()}


def load(dense):
    import torch
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)


def as_hf(dense, folder, form):
    """transformers' save_pretrained."""
    model = load(dense)
    narrowed(model, types_of(folder / "ours/model.safetensors"))
    model.save_pretrained(folder / "theirs")
    return folders(folder)


def scale_rows(module):
    """llm-compressor's observer "minmax" of a whole weight, computed in fp32; the scale as a bf16 model has it."""
    import torch
    from compressed_tensors.quantization.utils import calculate_qparams
    args, weight = module.quantization_scheme.weights, module.weight.data
    blocks = weight.unflatten(-1, (-1, args.group_size or weight.shape[-1]))
    scale, _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
    module.weight_scale = torch.nn.Parameter(scale.to(torch.bfloat16), requires_grad=False)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.data.zero_()


def as_compressed_tensors(dense, folder, form):
    """What llm-compressor calls behind its round-to-nearest: compressed-tensors, then save_pretrained."""
    from compressed_tensors.compressors.model_compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config, preset_name_to_scheme
    model = load(dense)
    scheme = preset_name_to_scheme(form.split(":")[1].upper(), ["Linear"])
    apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]))
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            scale_rows(module)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    narrowed(model, types_of(folder / "ours/model.safetensors"))
    model.save_pretrained(folder / "theirs")
    compressor.update_config(folder / "theirs")
    return folders(folder)


def gguf_names(layers):
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for i in range(layers):
        names |= {f"model.layers.{i}.{a}": f"blk.{i}.{b}" for a, b in parts.items()}
    return {a + ".weight": b + ".weight" for a, b in names.items()}


def add_keys(writer, config, reader):
    """Those that convert_hf_to_gguf.py writes for a Llama with a sentencepiece model."""
    writer.add_type("model")
    writer.add_name("run")
    writer.add_size_label("1M")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(reader.fields["general.file_type"].contents())
    writer.add_quantization_version(2)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([t.encode() for t in reader.fields["tokenizer.ggml.tokens"].contents()])
    writer.add_token_scores(reader.fields["tokenizer.ggml.scores"].contents())
    writer.add_token_types(reader.fields["tokenizer.ggml.token_type"].contents())
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


def as_gguf(dense, folder, form):
    """gguf-py's quantizers and writer, as convert_hf_to_gguf.py uses them; rows of q and k where it puts them."""
    from gguf import GGUFReader, GGUFWriter, quants
    config = json.loads((dense / "config.json").read_text())
    weights = as_llama_cpp({n: Weight(v) for n, v in read_safetensors(dense / "model.safetensors").items()})
    reader = GGUFReader(folder / "ours")
    ours = {t.name: t for t in reader.tensors}
    writer = GGUFWriter(folder / "theirs", "llama")
    add_keys(writer, config, reader)
    names = gguf_names(config["num_hidden_layers"])
    assert {names[n] for n in weights} == set(ours), {names[n] for n in weights} ^ set(ours)
    for name, weight in weights.items():
        stored = ours[names[name]]
        raw = quants.quantize(np.ascontiguousarray(weight.values), stored.tensor_type)
        assert raw.tobytes() == stored.data.tobytes(), f"{name} as {stored.tensor_type.name}"
        writer.add_tensor(names[name], raw, raw_dtype=stored.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    added = [field for key, field in reader.fields.items() if key.startswith("terse.")]
    texts = sum(int(part.nbytes) for field in added for part in field.parts)
    return {"equal": len(ours), "ours": size(folder / "ours"), "theirs": size(folder / "theirs"),
            "added": {"metadata and checksums": texts, "padding": PADDING}}


def with_matrices(model, matrices):
    """The same graph with MatMul of fp32 matrices [in, out] in place of codes, as an exporter writes it before
    quantization."""
    from onnx import helper, numpy_helper
    decoded, kept = {}, []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            decoded[node.output[0]] = node.input[0]
            continue
        weight = node.input[1] if node.op_type == "MatMulNBits" else decoded.get((list(node.input) + ["", ""])[1])
        if weight:
            node = helper.make_node("MatMul", [node.input[0], weight], node.output, name=node.name)
        kept.append(node)
    gone = {node.input[1] for node in kept if node.op_type == "MatMul"} & set(matrices)
    tensors = [t for t in model.graph.initializer if t.name not in gone and t.name.removesuffix(".scales") not in gone]
    tensors += [numpy_helper.from_array(np.ascontiguousarray(matrices[n].T), n) for n in sorted(gone)]
    del model.graph.node[:], model.graph.initializer[:], model.metadata_props[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(tensors)
    return model


def by_matmul_nbits(model, bits):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    quantizer = MatMulNBitsQuantizer(model, bits=bits, block_size=32, is_symmetric=True, accuracy_level=1)
    # The output matrix stays dense, as in terse's file.
    quantizer.nodes_to_exclude = [n.name for n in model.graph.node if n.op_type == "MatMul" and "logits" in n.output]
    quantizer.process()
    return quantizer.model.model


def nodes_of(model, kind):
    from onnx.numpy_helper import to_array
    stored = {t.name: to_array(t) for t in model.graph.initializer}
    return {node.output[0] if kind == "MatMulNBits" else node.input[0]:
            [stored[name] for name in node.input[int(kind == "MatMulNBits"):] if name in stored]
            for node in model.graph.node if node.op_type == kind}


def as_int4(folder, model, matrices):
    """Codes and scales of ONNX Runtime's quantizer, and onnx.save of its model."""
    import onnx
    ours = nodes_of(model, "MatMulNBits")
    theirs_model = by_matmul_nbits(with_matrices(model, matrices), 4)
    onnx.save(theirs_model, folder / "theirs.onnx")
    theirs = nodes_of(theirs_model, "MatMulNBits")
    assert set(ours) == set(theirs) and ours, set(ours) ^ set(theirs)
    for name, tensors in ours.items():
        for a, b in zip(tensors[:2], theirs[name][:2], strict=True):
            assert a.shape == b.shape and a.tobytes() == b.tobytes(), name
    return len(ours), size(folder / "theirs.onnx")


def as_int8(folder, model, matrices):
    """A scale a row: ONNX Runtime's own function for weights of QDQ, in the same nodes; and its MatMulNBits of 8 bits,
    which the file must not exceed either."""
    import onnx
    from onnx import TensorProto, numpy_helper
    from onnxruntime.quantization.quant_utils import quantize_data
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(by_matmul_nbits(with_matrices(copy, matrices), 8), folder / "nbits.onnx")
    stored = {t.name: t for t in model.graph.initializer}
    equal = 0
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        rows = [quantize_data(row, TensorProto.INT8, True) for row in matrices[node.input[0]]]
        scales = np.array([row[-2] for row in rows], np.float32)
        codes = np.ascontiguousarray(np.stack([row[-1] for row in rows]).astype(np.int8).T)
        for ours, theirs in ((stored[node.input[0]], codes), (stored[node.input[1]], scales)):
            assert numpy_helper.to_array(ours).tobytes() == theirs.tobytes(), ours.name
            ours.CopyFrom(numpy_helper.from_array(theirs, ours.name))
        equal += 1
    assert equal
    del model.metadata_props[:]
    onnx.save(model, folder / "theirs.onnx")
    return equal, min(size(folder / "theirs.onnx"), size(folder / "nbits.onnx"))


def as_onnx(dense, folder, form):
    """On terse's graph, which no converter makes: it is in both files."""
    import onnx
    from onnx.numpy_helper import to_array
    model = onnx.load(folder / "ours/model.onnx")
    ours = size(folder / "ours/model.onnx")
    texts = sum(p.ByteSize() + 8 for p in model.metadata_props)  # a tag and a length beside each
    graph = ours - texts - sum(to_array(t).nbytes for t in model.graph.initializer)
    matrices = read_safetensors(dense / "model.safetensors")
    equal, theirs = (as_int4 if form == "onnx:int4" else as_int8)(folder, model, matrices)
    return {"equal": equal, "ours": ours, "theirs": theirs, "added": {"metadata": texts},
            "note": f"{graph} bytes of both are the graph"}


CONVERTERS = {"safetensors": as_safetensors, "hf": as_hf, "gguf": as_gguf, "compressed-tensors": as_compressed_tensors,
              "onnx": as_onnx}

if __name__ == "__main__":
    form, dense, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    print(json.dumps(CONVERTERS[form.split(":")[0]](dense, folder, form)))
