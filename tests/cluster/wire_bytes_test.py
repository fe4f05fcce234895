"""The bytes that `terse train` says it sent are those that crossed its host's interface.

Two runs of the same recipe that differ in their number of steps are subtracted, so that meeting,
preparing data, evaluation and saving cancel. A packet is one on the interface whether it is a wire's
(1,448 bytes of payload at most) or a large segment that a network card would still cut: either carries
one header of 66 bytes (Ethernet 14, IP 20, TCP 32). What remains is payload: terse's messages, the
transports' own headers, heartbeats, and what TCP sent again.
"""

import json
import os
import random
import unittest

from support import ClusterTest, main

TERSE = os.environ.get("TERSE_PROGRAM", "")
HEADER = 66
SEGMENT = 1448  # payload of a full one
TOLERANCE = 0.01

# 1.5 million parameters, so that what is sent each step is large beside a heartbeat.
RECIPE = """
[model]
layers = 2
width = 256
heads = 2
hidden = 512
context = 32
[data]
text = ["{folder}/text.txt"]
dir = "{folder}/data"
vocab = 300
[train]
batch_tokens = 64
seed = 3
eval_every = 0
[optim]
lr = 1e-3
schedule = "constant"
warmup = 1
[checkpoint]
every = 0
"""
DENSE = ["optim.name='adamw'", "exchange.codec='bf16'"]
ONEBIT = ["optim.name='onebit_adam'", "exchange.codec='onebit'", "optim.freeze=4"]
# Lengths that differ by step, and are told first. A twentieth, and rank 16 below: with less a step's
# messages are so small that the transports' headers and heartbeats come near the tolerance.
TOPK = ["optim.name='adamw'", "exchange.codec='topk'", "exchange.density=0.05"]
GATHER, SCATTER = "exchange.sparse='gather'", "exchange.sparse='scatter'"
LOWRANK = ["optim.name='adamw'", "exchange.codec='lowrank'", "exchange.rank=16"]


@unittest.skipUnless(TERSE, "no terse program")
class WireBytes(ClusterTest):
    def setUp(self):
        super().setUp()
        chance = random.Random(7)
        words = ["king", "water", "stone", "city", "saw", "called", "left", "the", "and", "of"]
        lines = (" ".join(chance.choices(words, k=12)) for _ in range(2000))
        (self.folder / "text.txt").write_text("\n".join(lines) + "\n")
        (self.folder / "recipe.toml").write_text(RECIPE.format(folder=self.folder))

    def sent(self, launcher, sets, steps):
        """(terse's count, the interface's, its packets, those sent again) of rank 0 and its host."""
        run, path = self.folder / f"run-{steps}", self.folder / "bytes.json"
        flags = [word for key in sets + [f"train.steps={steps}"] for word in ("--set", key)]
        out = self.succeed("--launcher", launcher, "--link", "400Mbit", "--bytes", str(path),
                           command=[TERSE, "train", str(self.folder / "recipe.toml"), "--json",
                                    "--out", str(run), *flags])
        report = json.JSONDecoder().raw_decode(out[out.index("{"):])[0]
        host = self.bytes_of(path)[0]
        return (report["wire_bytes"], host["tx_bytes"], host["tx_packets"], host["tx_again"])

    def check(self, launcher, sets, few, many):
        before, after = self.sent(launcher, sets, few), self.sent(launcher, sets, many)
        said, crossed, packets, again = (b - a for a, b in zip(before, after))
        # What a busy machine makes TCP send twice has crossed twice.
        payload = crossed - HEADER * packets - SEGMENT * again
        print(f"\n{launcher} {sets[1:]}: terse {said}, interface {crossed} in {packets} packets, "
              f"{again} again, payload {payload}: {payload / said - 1:+.3%}; before {before}")
        self.assertLess(abs(payload / said - 1), TOLERANCE)

    def test_dense_bf16_over_gloo(self):
        self.check("plain", DENSE, 2, 12)

    def test_dense_bf16_over_mpi(self):
        self.check("mpirun", DENSE, 2, 12)

    def test_onebit_adam_over_gloo(self):
        self.check("plain", ONEBIT, 10, 130)

    def test_onebit_adam_over_mpi(self):
        self.check("mpirun", ONEBIT, 10, 130)

    def test_topk_over_gloo(self):
        self.check("plain", TOPK + [SCATTER], 10, 130)

    def test_topk_over_mpi(self):
        self.check("mpirun", TOPK + [SCATTER], 10, 130)

    def test_topk_gathered_over_gloo(self):
        self.check("plain", TOPK + [GATHER], 10, 130)

    def test_topk_gathered_over_mpi(self):
        self.check("mpirun", TOPK + [GATHER], 10, 130)

    def test_lowrank_over_gloo(self):
        self.check("plain", LOWRANK, 10, 130)

    def test_lowrank_over_mpi(self):
        self.check("mpirun", LOWRANK, 10, 130)


if __name__ == "__main__":
    main()
