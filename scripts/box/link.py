"""Speed, latency and loss of a wire, as the words that tc understands."""

import argparse
import re

QUEUE_SECONDS = 0.05  # what a port of the switch holds before it drops
PACKET = 1514
HEADERS = 100  # of a packet, at most: tbf counts them for each, the size of a segment only once
LARGEST_SEGMENT = 1 << 16


def parse(text, units, what, example):
    match = re.fullmatch(r"([0-9.]+)\s*([a-zA-Z%]+)", text)
    try:
        return float(match[1]) * units[match[2].lower()]
    except (TypeError, KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"'{text}' is not a {what} such as {example}") from None


def parse_rate(text):
    """Bits a second."""
    units = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
    rate = parse(text, units, "rate", "100Mbit")
    if not 1e5 <= rate <= 1e12:
        raise argparse.ArgumentTypeError(f"{text} is not between 100kbit and 1000Gbit")
    return rate


def parse_time(text):
    """Seconds."""
    return parse(text, {"us": 1e-6, "ms": 1e-3, "s": 1.0}, "time", "5ms")


def parse_share(text):
    """A probability."""
    share = parse(text, {"%": 0.01}, "share", "0.1%")
    if share >= 1.0:
        raise argparse.ArgumentTypeError(f"{text} leaves nothing")
    return share


def burst_bytes(rate):
    """A millisecond of the link, so that a short message gets through at the link's speed, not
    at the machine's; on a fast link at least one whole segment."""
    per_millisecond = rate / 8 / 1000
    return int(max(per_millisecond, LARGEST_SEGMENT if rate >= 5e8 else 0, 4 * PACKET))


def segment_bytes(rate):
    """The largest segment that TCP may hand to the interface: one that fits the burst. Were tbf to cut it
    into packets, each would wake the wire by itself, on the core that the host computes with, which no
    network card does."""
    return min(burst_bytes(rate) * PACKET // (PACKET + HEADERS), LARGEST_SEGMENT)


def shaping(rate):
    limit = int(max(rate / 8 * QUEUE_SECONDS, 4 * LARGEST_SEGMENT))
    return f"tbf rate {int(rate)}bit burst {burst_bytes(rate)} limit {limit}"


def emulation(latency, loss):
    # netem's limit counts packets; the wire must hold all that is under way.
    return f"netem limit 1000000 delay {int(latency * 1e6)}us loss {loss * 100}%"
