"""The part of matrix_test.py that runs among the engines.

    matrix_inside.py FAMILY JOB.json      FAMILY: gguf, hf or onnx

Answers, for each file of the job, how many weights of the run had their codes read back ("codes", by library) and
the perplexities ("perplexity": engine -> perplexity, tokens). A difference in a bit ends it.
"""
import json
import pathlib
import sys

import numpy as np
from engine_setup import text_windows
from run_codes import as_llama_cpp, held_against, run_weights


def to_f16(weights):
    """What --requantize makes of matrices for gguf:f16."""
    def rounded(a):
        return a.astype(np.float16).astype(np.float32) if a.ndim == 2 else a
    return {name: weight.map(rounded) for name, weight in weights.items()}


class Gguf:
    def __init__(self, job, ours):
        import gguf_codes
        self.codes = gguf_codes
        self.shapes = {name: weight.values.shape for name, weight in ours.items()}
        self.ours = as_llama_cpp(to_f16(ours) if job["requantize"] else ours)

    def read(self, path):
        """By library, its weights or what it lacks."""
        for title, library in self.codes.libraries().items():
            try:
                yield title, self.codes.read_gguf(library, path, self.shapes)
            except self.codes.LACKS as error:
                yield title, f"lacks {error}"

    def perplexity(self, path, engine):
        return None  # llama.cpp and OpenVINO GenAI are programs of their own


class HuggingFace:
    def __init__(self, job, ours):
        import hf_model
        import torch
        torch.set_num_threads(1)
        self.model, self.ours = hf_model, ours
        self.windows = text_windows(pathlib.Path(job["data"]), job["context"])[:job["windows"]]

    def read(self, path):
        if path.is_dir():
            yield "compressed_tensors", self.model.read_hf(path)
            return
        from run_codes import Weight
        from safetensors.numpy import load_file
        from safetensors.torch import load_file as load_any
        try:
            tensors = load_file(path)
        except TypeError:  # numpy has no bfloat16
            tensors = {name: t.float().numpy() for name, t in load_any(path).items()}
        yield "safetensors", {n: Weight(t.astype(np.float32)) for n, t in tensors.items()}

    def perplexity(self, path, engine):
        return self.model.perplexity(self.model.load(path), self.windows) if engine == "transformers" else None


class Onnx:
    def __init__(self, job, ours):
        import onnx_model
        self.model, self.ours = onnx_model, ours
        self.windows = text_windows(pathlib.Path(job["data"]), job["context"])[:job["windows"]]

    def read(self, path):
        yield "ONNX Runtime", self.model.read_onnx(path)

    def perplexity(self, path, engine):
        return self.model.perplexity(self.model.ENGINES[engine](path), self.windows)


FAMILIES = {"gguf": Gguf, "hf": HuggingFace, "onnx": Onnx}


def checked(family, file):
    path = pathlib.Path(file["path"])
    codes = {title: held if isinstance(held, str) else held_against(family.ours, held, file["verdict"])
             for title, held in family.read(path)}
    scored = {engine: family.perplexity(path, engine) for engine in file["engines"]}
    return {"codes": codes, "perplexity": scored}


def main(name, job):
    job = json.loads(pathlib.Path(job).read_text())
    family = FAMILIES[name](job, run_weights(pathlib.Path(job["run"]), job["compute"]))
    print(json.dumps([checked(family, file) for file in job["files"]]))


if __name__ == "__main__":
    main(*sys.argv[1:])
