#!/usr/bin/env python3
"""relay.py DELAY LOSS PORT...: a switch that delays (seconds) and drops (probability) packets.

Stands in for a bridge with netem, for kernels without it. Runs in the switch's namespace, prints
`ready`, and ends when it is killed. Frames go with their offload header (PACKET_VNET_HDR), so that
large segments and unfinished checksums pass through as they are.
"""

import collections
import ctypes
import os
import random
import select
import signal
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
HEADER = 10  # struct virtio_net_hdr
LARGEST = (1 << 16) + 256
BUFFER = 64 << 20
PR_SET_PDEATHSIG = 1


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    port.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    port.bind((name, ETH_P_ALL))
    port.setblocking(False)
    return port


class Switch:
    def __init__(self, delay, loss, ports):
        self.delay = delay
        self.loss = loss
        self.ports = ports
        self.home = {}  # port by hardware address
        self.under_way = collections.deque()  # (due, port that it came from, frame): due rises

    def receive(self, port):
        while True:
            try:
                frame = port.recv(LARGEST)
            except BlockingIOError:
                return
            self.home[frame[HEADER + 6:HEADER + 12]] = port
            if self.loss == 0.0 or random.random() >= self.loss:
                self.under_way.append((time.monotonic() + self.delay, port, frame))

    def deliver(self):
        while self.under_way and self.under_way[0][0] <= time.monotonic():
            _, source, frame = self.under_way.popleft()
            known = self.home.get(frame[HEADER:HEADER + 6])
            for port in [known] if known else [p for p in self.ports if p is not source]:
                try:
                    port.send(frame)
                except (BlockingIOError, OSError):
                    pass  # the port's queue is full: dropped, as by any switch

    def run(self):
        while True:
            wait = max(0.0, self.under_way[0][0] - time.monotonic()) if self.under_way else None
            # Not epoll, which waits for whole milliseconds.
            for port in select.select(self.ports, [], [], wait)[0]:
                self.receive(port)
            self.deliver()


def main():
    delay, loss, names = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ahead of ranks that compute on the same cores: a late packet is a longer wire.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    switch = Switch(delay, loss, [open_port(name) for name in names])
    print("ready", flush=True)
    switch.run()


if __name__ == "__main__":
    main()
