"""When a cable is cut, every rank ends by itself and says why."""

import os
import re
import subprocess
import time
import unittest

from support import HERE, SCRIPT, ClusterTest, main

TERSE = os.environ.get("TERSE_PROGRAM", "")
RECIPE = """
[model]
layers = 1
width = 64
heads = 2
hidden = 128
context = 32
[data]
text = ["{root}/LICENSE", "{root}/docs/howto.md"]
dir = "{folder}/data"
vocab = 400
valid = 0.3
[train]
steps = 100000
batch_tokens = 256
eval_every = 0
[exchange]
timeout_s = 8
"""


class Split(ClusterTest):
    @unittest.skipUnless(TERSE, "no terse program")
    def test_every_rank_ends(self):
        recipe = os.path.join(self.folder, "r.toml")
        with open(recipe, "w") as file:
            file.write(RECIPE.format(root=HERE.parents[1], folder=self.folder))
        run = os.path.join(self.folder, "run")
        job = subprocess.Popen(
            [str(SCRIPT), "--hosts", "2", "--launcher", "plain", "--", TERSE, "train", recipe, "--out", run],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            self.wait_for_steps(os.path.join(run, "metrics.jsonl"), job)
            switch = self.switch_of(job.pid)
            subprocess.run(["ip", "-n", switch, "link", "set", "port1", "down"], check=True)
            began = time.monotonic()
            out, _ = job.communicate(timeout=90)
        finally:
            job.kill()
        # The script gives ranks 20 s once one has failed, then kills them and says so.
        self.assertNotIn("killed", out)
        self.assertLess(time.monotonic() - began, 60)
        # Heartbeat and collective run out of the same 8 s, whichever began first.
        self.assertIn(job.returncode, (3, 4), out)
        for rank, lost in ((0, 1), (1, 0)):
            self.assertRegex(out, re.compile(rf"^terse: rank {rank}: error: .*\brank {lost}\b", re.M))

    def wait_for_steps(self, metrics, job):
        for _ in range(600):
            if job.poll() is not None:
                self.fail(job.stdout.read())
            if os.path.exists(metrics) and os.path.getsize(metrics) > 500:
                return
            time.sleep(0.1)
        self.fail("training did not begin")

    def switch_of(self, owner):
        listed = subprocess.run(["ip", "netns", "list"], check=True, text=True, stdout=subprocess.PIPE)
        names = [line.split()[0] for line in listed.stdout.splitlines() if "-switch" in line]
        self.assertEqual(len(names), 1, f"clusters other than that of {owner} are running")
        return names[0]


if __name__ == "__main__":
    main()
