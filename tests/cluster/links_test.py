"""A link is as fast, as slow and as lossy as was asked."""

import json

from support import TRANSFER, ClusterTest, main

TOLERANCE = 0.15  # the tool's promise
PAYLOAD = 1448 / 1514  # of a packet, under TCP


class Links(ClusterTest):
    def figure(self, *options, size):
        return float(self.succeed("--launcher", "plain", *options, command=TRANSFER + [str(size)]))

    def check_speed(self, rate, bits_a_second, *options):
        asked = bits_a_second / 8 * PAYLOAD
        got = self.figure("--link", rate, *options, size=int(asked))  # a second's worth
        self.assertLess(abs(got / asked - 1), TOLERANCE, f"{got} bytes/s at {rate}")

    def test_speed_of_10_mbit(self):
        self.check_speed("10Mbit", 1e7)

    def test_speed_of_100_mbit(self):
        self.check_speed("100Mbit", 1e8)

    def test_speed_of_400_mbit(self):
        self.check_speed("400Mbit", 4e8)

    def test_both_directions_are_shaped_at_the_switch_too(self):
        # Two senders into one receiver: its own wire is the limit, not the senders'.
        out = self.succeed("--launcher", "plain", "--hosts", "3", "--cores-per-host", "1", "--link",
                           "50Mbit", command=TRANSFER + [str(int(2 * 50e6 / 8))])
        self.assertLess(abs(float(out) / (50e6 / 8 * PAYLOAD) - 1), TOLERANCE, out)

    def test_latency_is_one_way(self):
        seconds = self.figure("--latency", "20ms", size=0)
        self.assertGreaterEqual(seconds, 0.040)
        self.assertLess(seconds, 0.060)  # a busy machine adds to it; the quickest of 20 trips

    def test_speed_under_latency(self):
        self.check_speed("20Mbit", 2e7, "--latency", "2ms")

    def test_loss_drops_that_share_of_packets(self):
        path = self.folder / "bytes.json"
        self.succeed("--launcher", "plain", "--link", "50Mbit", "--loss", "2%", "--bytes", str(path),
                     command=TRANSFER + ["6000000"])
        hosts = json.loads(path.read_text())["hosts"]
        sent, got = hosts[1]["tx_packets"], hosts[0]["rx_packets"]
        self.assertGreater(sent, 6000000 / 1448)  # segments are cut before they may be lost
        # 4,200 packets at 2 %: 84 lost, standard deviation 9.1; five of them.
        self.assertLess(abs((sent - got) / sent - 0.02), 5 * (0.02 * 0.98 / sent) ** 0.5)

    def test_bytes_are_those_of_the_interface(self):
        path = self.folder / "bytes.json"
        size = 8 << 20
        self.succeed("--launcher", "plain", "--link", "100Mbit", "--bytes", str(path),
                     command=TRANSFER + [str(size)])
        receiver, sender = self.bytes_of(path)
        payload = sender["tx_bytes"] - 66 * sender["tx_packets"]
        # A busy machine lets TCP send a segment or two of 16 KB again.
        self.assertLess(abs(payload / size - 1), 0.01)
        self.assertEqual(sender["tx_bytes"], receiver["rx_bytes"])


if __name__ == "__main__":
    main()
