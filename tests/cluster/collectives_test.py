"""Every collective is exact between hosts, where the MPI backend cuts messages into smaller pieces than
between ranks of one host: one rank a host, and two ranks on each, where both kinds meet."""

import os
import unittest

from support import ClusterTest, main

RANKS = os.environ.get("GROUP_RANKS_PROGRAM", "")


@unittest.skipUnless(RANKS, "no comm_group_ranks program")
class Collectives(ClusterTest):
    def check(self, ranks, *options):
        out = self.succeed(*options, command=[RANKS, "conformance", "mpi"])
        self.assertEqual(out.count("fine"), ranks, out)

    def test_three_hosts(self):
        self.check(3, "--hosts", "3")

    def test_two_ranks_on_each_of_two_hosts(self):
        self.check(4, "--hosts", "2", "--ranks-per-host", "2")


if __name__ == "__main__":
    main()
