#!/usr/bin/env python3
"""Runs llama.cpp (PyPI xllamacpp) on a GGUF file and prints one line of JSON.

    llama_perplexity.py MODEL.gguf [--windows IDS.json] [--prompt TEXT [--predict N]]
                        [--tokenize TEXTS.json] [--probe IDS.json]

--windows   a JSON list of windows, each a list of token ids that begins with BOS. Every id after the
            first is scored given the ids before it. Answers "tokens", "nll" (their sum, in nats),
            "window_nll" and "perplexity".
--prompt    greedy continuation, N tokens: "generated".
--tokenize  a JSON list of texts: "ids", one list a text, without BOS.
--probe     a JSON list of token ids: "probe", the log-probabilities of the whole vocabulary after
            each prefix.

How one probability is asked for: a completion of one token after the ids before, greedy, with the
wanted id biased so that it wins. llama.cpp reports the chosen token's log-probability from the raw
logits, so the bias does not enter. Called in process with one thread: an HTTP request costs 40 ms
here, and two threads that spin on a busy machine are a hundred times slower than one.
The key-value cache is F32 and flash attention is off, so that a difference means a wrong file.
"""
import argparse
import http.client
import json
import math
import os
import shutil
import struct
import sys
import tempfile
import time


def silence_native_output():
    """llama.cpp logs to both streams; returns a stream that still reaches our caller, and keeps
    Python's own messages on standard error."""
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w")
    if not os.environ.get("TERSE_ENGINE_LOG"):
        sys.stderr = os.fdopen(os.dup(2), "w")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    return answer


def allow_context(model, needed, folder):
    """llama.cpp's server wants one free place behind the prompt and never goes beyond
    llama.context_length, so it cannot score the last token of a window of full length. Where that is
    so, answers the path of a copy in `folder` that claims a longer context; nothing else is changed."""
    with open(model, "rb") as f:
        head = f.read(1 << 16)
    key = b"llama.context_length" + struct.pack("<I", 4)
    at = head.find(key) + len(key)
    if at < len(key) or struct.unpack_from("<I", head, at)[0] >= needed:
        return model
    copy = os.path.join(folder, "model.gguf")
    shutil.copyfile(model, copy)
    with open(copy, "r+b") as f:
        f.seek(at)
        f.write(struct.pack("<I", needed))
    return copy


def start(model, context):
    import xllamacpp as x

    p = x.CommonParams()
    p.model.path = model
    p.port = 0
    p.n_ctx = context
    p.n_parallel = 1
    p.n_gpu_layers = 0
    p.warmup = False
    p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    return x.Server(p)


def tokenize(server, texts):
    connection = http.client.HTTPConnection(server.listening_address.split("//")[1], timeout=60)
    ids = []
    for text in texts:
        body = json.dumps({"content": text, "add_special": False})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        ids.append(json.loads(connection.getresponse().read())["tokens"])
    return ids


def complete(server, prompt, **options):
    answer = server.handle_completions(
        dict(prompt=prompt, temperature=0, cache_prompt=True, **options))
    if "choices" not in answer:
        raise RuntimeError(f"llama.cpp refused: {json.dumps(answer)[:400]}")
    return answer["choices"][0]


class Scorer:
    def __init__(self, server):
        self.server = server
        self.anchor = None

    def log_probability(self, before, token):
        choice = complete(self.server, before, max_tokens=1, logprobs=1,
                          logit_bias=[[token, 1e4]])
        if choice.get("logprobs"):
            chosen = choice["logprobs"]["content"][0]
            if chosen["id"] != token:
                raise RuntimeError(f"asked for token {token}, llama.cpp chose {chosen['id']}")
            return chosen["logprob"]
        return self.from_whole_vocabulary(before, token)

    def from_whole_vocabulary(self, before, token):
        """An answer that is part of a UTF-8 character carries no probabilities: let another token
        win, and look ours up in the list of all."""
        for other in self.whole_vocabulary(before):
            if other["id"] == token:
                return other["logprob"]
        raise RuntimeError(f"llama.cpp gives no probability of token {token}")

    def whole_vocabulary(self, before):
        if self.anchor is None:
            self.anchor = tokenize(self.server, ["a"])[0][-1]
        choice = complete(self.server, before, max_tokens=1, logprobs=1 << 20,
                          logit_bias=[[self.anchor, 1e4]])
        return choice["logprobs"]["content"][0]["top_logprobs"]


def perplexity(server, windows):
    scorer = Scorer(server)
    sums = [-sum(scorer.log_probability(w[:i], w[i]) for i in range(1, len(w))) for w in windows]
    count = sum(len(w) - 1 for w in windows)
    return {"tokens": count, "nll": sum(sums), "window_nll": sums,
            "perplexity": math.exp(sum(sums) / count)}


def probe(server, ids):
    scorer = Scorer(server)
    rows = []
    for end in range(1, len(ids) + 1):
        row = {other["id"]: other["logprob"] for other in scorer.whole_vocabulary(ids[:end])}
        rows.append([row[token] for token in range(len(row))])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--windows")
    parser.add_argument("--prompt")
    parser.add_argument("--predict", type=int, default=40)
    parser.add_argument("--tokenize")
    parser.add_argument("--probe")
    options = parser.parse_args()
    windows = json.load(open(options.windows)) if options.windows else []
    longest = max([len(w) for w in windows] + [len(json.load(open(options.probe))) + 1
                                               if options.probe else 0])
    answer = silence_native_output()
    begin = time.time()
    needed = longest + 1 if longest else 0  # 0: what the model was trained for
    with tempfile.TemporaryDirectory() as folder:
        server = start(allow_context(options.model, needed, folder), needed)
        result = answers(options, windows, server)
        del server
    result["seconds"] = time.time() - begin
    print(json.dumps(result), file=answer, flush=True)


def answers(options, windows, server):
    result = {"engine": "llama.cpp"}
    if windows:
        result |= perplexity(server, windows)
    if options.prompt is not None:
        result["generated"] = complete(server, options.prompt, max_tokens=options.predict)["text"]
    if options.probe:
        result["probe"] = probe(server, json.load(open(options.probe)))
    if options.tokenize:
        result["ids"] = tokenize(server, json.load(open(options.tokenize)))
    return result


if __name__ == "__main__":
    main()
