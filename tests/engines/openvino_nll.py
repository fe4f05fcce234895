"""Log-probabilities of a GGUF file by OpenVINO GenAI's own GGUF reader, which is not llama.cpp's.

    openvino_nll.py MODEL.gguf IDS.json   ->   JSON: summed negative log-likelihood per window

OpenVINO GenAI reads byte-level BPE tokenizers only, and terse's are sentencepiece: a copy of the file
gets one in name (ids go in, the tokenizer is never asked). It turns the file into an OpenVINO model,
which is run here on whole windows.
"""
import contextlib
import json
import pathlib
import sys
import tempfile

import numpy as np
import openvino
import openvino_genai
from gguf import GGUFReader, GGUFValueType, GGUFWriter

REPLACED = ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre")


def with_byte_level_bpe(source, target):
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "terse.")) or field.name in REPLACED:
            continue
        array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(field.name, field.contents(), field.types[0],
                             field.types[-1] if array else None)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "smollm")
    writer.add_array("tokenizer.ggml.merges", ["a b"])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def window_nll(model, ids):
    ids = np.asarray(ids, np.int64)
    n = len(ids) - 1
    request = model.create_infer_request()
    request.infer({"input_ids": ids[None, :-1], "attention_mask": np.ones((1, n), np.int64),
                   "position_ids": np.arange(n)[None], "beam_idx": np.zeros(1, np.int32)})
    z = request.get_tensor("logits").data[0].astype(np.float64)
    z -= z.max(-1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return -float(logp[np.arange(n), ids[1:]].sum())


def main(source, ids):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "model.gguf"
        with_byte_level_bpe(source, copy)
        with contextlib.redirect_stdout(sys.stderr):
            openvino_genai.LLMPipeline(str(copy), "CPU", enable_save_ov_model=True)
        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        model = core.compile_model(str(copy.with_name("openvino_model.xml")), "CPU")
        print(json.dumps([window_nll(model, w) for w in json.load(open(ids))]))


if __name__ == "__main__":
    main(*sys.argv[1:])
