#!/usr/bin/env python3
"""transfer.py BYTES: all ranks send their part of so much to rank 0, which prints bytes a second;
transfer.py 0, two ranks: rank 0 prints the seconds of the quickest of 20 round trips of one byte."""

import os
import select
import socket
import sys
import time

CHUNK = 1 << 16
TRIPS = 20


def connections(rank):
    address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    if rank == 0:
        server = socket.create_server(address)
        return [server.accept()[0] for _ in range(int(os.environ["WORLD_SIZE"]) - 1)]
    end = time.monotonic() + 20
    while True:
        try:
            return [socket.create_connection(address, timeout=20)]
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def round_trips(rank, peer):
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times = []
    for _ in range(TRIPS):
        begin = time.monotonic()
        if rank == 0:
            peer.sendall(b"x")
            peer.recv(1)
            times.append(time.monotonic() - begin)
        else:
            peer.sendall(peer.recv(1))
    return min(times, default=None)


def send(peer, total):
    for _ in range(total // CHUNK):
        peer.sendall(bytes(CHUNK))
    peer.shutdown(socket.SHUT_WR)


def receive(peers, total):
    """The first tenth fills queues and finds the link's speed; it is not timed."""
    got, begin, skipped = 0, None, total // 10
    while peers:
        for peer in select.select(peers, [], [])[0]:
            size = len(peer.recv(CHUNK))
            got += size
            if size == 0:
                peers.remove(peer)
        if begin is None and got >= skipped:
            begin, skipped = time.monotonic(), got
    return (got - skipped) / (time.monotonic() - begin)


def main():
    rank, total = int(os.environ["RANK"]), int(sys.argv[1])
    peers = connections(rank)
    if total == 0:
        figure = round_trips(rank, peers[0])
    elif rank == 0:
        figure = receive(peers, total)
    else:
        send(peers[0], total // (int(os.environ["WORLD_SIZE"]) - 1))
    if rank == 0:
        print(figure)


if __name__ == "__main__":
    main()
