#!/usr/bin/env python3
"""Draws what `stagecoach train --metrics FILE` wrote: the training loss, and the accuracy in training and on the
test images, over the steps.

usage: plot_metrics.py METRICS.jsonl PICTURE.svg [--title TEXT] [--mean STEPS] [--epoch STEPS]

Python's own library is enough.
"""

import argparse
import html
import json
import math
import pathlib

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 440, 60, 60, 60, 50
LOSS, TRAINING, TEST = "#999999", "#0072b2", "#d55e00"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("metrics", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--title", default="")
    parser.add_argument("--mean", type=int, default=100, help="steps that a point is the mean of [100]")
    parser.add_argument("--epoch", type=int, default=0, help="steps of an epoch, for the axis [none]")
    return parser.parse_args()


def means(steps, key, width):
    """(step, mean of `key` over the `width` steps up to it) for each whole group."""
    return [(steps[end - 1]["step"], sum(step[key] for step in steps[end - width:end]) / width)
            for end in range(width, len(steps) + 1, width)]


def curve(points, x, y, colour, dots=False):
    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    marks = [f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"/>'
             for step, value in points] if dots else []
    return [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>', *marks]


def axes(last_step, highest_loss, epoch, x, accuracy_y, loss_y):
    text = []
    for i in range(11):
        y = accuracy_y(i / 10)
        text.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>'
                    f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10 * i} %</text>')
    for i in range(6):
        value = highest_loss * i / 5
        text.append(f'<text x="{WIDTH - RIGHT + 8}" y="{loss_y(value) + 4:.1f}" fill="{LOSS}">{value:.1f}</text>')
    unit, name = (epoch, "epoch") if epoch else (10 ** int(math.log10(max(10, last_step / 4))), "step")
    for at in range(0, last_step + 1, unit):
        label = at // unit if epoch else at
        text.append(f'<text x="{x(at):.1f}" y="{HEIGHT - 28}" text-anchor="middle">{label}</text>')
    text.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{name}</text>')
    return text


def picture(steps, arguments):
    loss = means(steps, "loss", arguments.mean)
    training = means(steps, "accuracy", arguments.mean)
    test = [(step["step"], step["test_accuracy"]) for step in steps if "test_accuracy" in step]
    last_step = steps[-1]["step"]
    highest_loss = math.ceil(2 * max(value for _, value in loss)) / 2
    height = HEIGHT - TOP - BOTTOM
    x = lambda step: LEFT + (WIDTH - LEFT - RIGHT) * step / last_step
    accuracy_y = lambda value: TOP + height * (1 - value)
    loss_y = lambda value: TOP + height * (1 - value / highest_loss)
    text = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="sans-serif" font-size="13">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="22" font-size="15">{html.escape(arguments.title)}</text>',
            *axes(last_step, highest_loss, arguments.epoch, x, accuracy_y, loss_y)]
    for i, (name, colour) in enumerate((("accuracy on the test images", TEST),
                                        ("accuracy in training", TRAINING),
                                        ("training loss (right axis)", LOSS))):
        text.append(f'<text x="{LEFT + 220 * i}" y="44" fill="{colour}">{name}</text>')
    text += curve(loss, x, loss_y, LOSS) + curve(training, x, accuracy_y, TRAINING)
    text += curve(test, x, accuracy_y, TEST, dots=True)
    return "\n".join([*text, "</svg>", ""])


def main():
    arguments = parse_arguments()
    steps = [json.loads(line) for line in arguments.metrics.read_text().splitlines()]
    if len(steps) < arguments.mean:
        raise SystemExit(f"{arguments.metrics}: {len(steps)} steps, fewer than --mean {arguments.mean}")
    arguments.picture.write_text(picture(steps, arguments))


if __name__ == "__main__":
    main()
