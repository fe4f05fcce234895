"""Loss against seconds: curves, where they cross a loss, and a picture of them.

A curve is a list of points in the order of their steps; a point has step, seconds, loss and sent (bytes so
far). Between two evaluations it is a straight line.
"""

import html
import math

COLOURS = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 940, 430, 60, 350, 20, 50
ABOVE = 1.0  # what is shown of the losses above the level


def between(a, b, part):
    return {key: a[key] + part * (b[key] - a[key]) for key in a}


def reached(curve, loss):
    """The first point at which the curve is down to `loss`; None if it never is."""
    before = None
    for point in curve:
        if point["loss"] <= loss:
            if before is None:
                return point
            return between(before, point, (before["loss"] - loss) / (before["loss"] - point["loss"]))
        # A loss that is not finite makes no line.
        before = point if math.isfinite(point["loss"]) else None
    return None


def loss_at(curve, step):
    before = curve[0]
    for point in curve:
        if point["step"] >= step:
            way = point["step"] - before["step"]
            return between(before, point, (step - before["step"]) / way)["loss"] if way else point["loss"]
        before = point
    return before["loss"]


class Axes:
    """Seconds as powers of ten, loss as it is."""

    def __init__(self, points):
        times, losses = [[p[key] for p in points] for key in ("seconds", "loss")]
        self.left, self.right = math.log10(min(times)), math.log10(max(times))
        self.low, self.high = min(losses), max(losses)

    def x(self, seconds):
        part = (math.log10(seconds) - self.left) / ((self.right - self.left) or 1)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, loss):
        part = (loss - self.low) / ((self.high - self.low) or 1)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def second_ticks(self):
        powers = range(math.floor(self.left), math.ceil(self.right) + 1)
        every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        return [t for t in every if self.left <= math.log10(t) <= self.right]

    def loss_ticks(self):
        rough = (self.high - self.low) / 6 or 1
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
        first = math.ceil(self.low / step)
        return [i * step for i in range(first, math.floor(self.high / step) + 1)]


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(words)}</text>'


def line(x1, y1, x2, y2, more):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def frame(axes):
    """Grid, ticks, and what the axes are."""
    bottom, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in axes.second_ticks():
        parts += [line(axes.x(tick), TOP, axes.x(tick), bottom, 'stroke="#ddd"'),
                  text(axes.x(tick), bottom + 16, f"{tick:g}", 'text-anchor="middle"')]
    for tick in axes.loss_ticks():
        parts += [line(LEFT, axes.y(tick), end, axes.y(tick), 'stroke="#ddd"'),
                  text(LEFT - 6, axes.y(tick) + 4, f"{tick:g}", 'text-anchor="end"')]
    parts += [text((LEFT + end) / 2, HEIGHT - 12, "seconds of training", 'text-anchor="middle"'),
              text(LEFT, TOP - 6, "validation loss")]
    return parts


def kind(name):
    return " ".join(word for word in name.split() if "=" not in word)


def picture(curves, level):
    """SVG text of {label: curve}; a dashed line at the loss `level`. Labels that differ only in words with a "="
    share a colour; without such words their curve is dashed."""
    shown = {name: [p for p in curve if p["seconds"] > 0 and p["loss"] <= level + ABOVE]
             for name, curve in curves.items()}
    kinds = [kind(name) for name in shown]
    colours = {k: COLOURS[i % len(COLOURS)] for i, k in enumerate(dict.fromkeys(kinds))}
    axes = Axes([p for curve in shown.values() for p in curve] or [{"seconds": 1, "loss": 1}])
    parts = frame(axes)
    if axes.low <= level <= axes.high:
        parts.append(line(LEFT, axes.y(level), WIDTH - RIGHT, axes.y(level),
                          'stroke="#444" stroke-dasharray="5 4"'))
    for i, (name, curve) in enumerate(shown.items()):
        colour = colours[kind(name)]
        dashed = ' stroke-dasharray="3 3"' if kinds.count(name) > 1 else ""
        places = " ".join(f"{axes.x(p['seconds']):.1f},{axes.y(p['loss']):.1f}" for p in curve)
        parts += [f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>',
                  text(WIDTH - RIGHT + 14, TOP + 16 + 20 * i, name, f'fill="{colour}"')]
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" '
            f'fill="#fff"/>\n{body}\n</svg>\n')
