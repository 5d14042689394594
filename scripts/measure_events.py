"""python scripts/measure_events.py --model cstm_tiny.motions --videos 20

Measures `stzoo.find_events` on long videos whose events are known. Each video is a
series of motions. An event is two to four renders of one motion after another, and the
next event is another motion. An event counts as found if one of the same class covers
it with an intersection over union of at least 0.5.
"""

import argparse
import itertools

import numpy as np

import stzoo
from stzoo.data import motions
from stzoo.inference.events import Event

EVENTS = 12  # in a video
OVERLAP = 0.5


def main(arguments=None):
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--model", default="cstm_tiny.motions")
    parser.add_argument("--videos", default=20, type=int)
    parser.add_argument("--every", default=0.25, type=float)
    parser.add_argument("--high", default=0.5, type=float)
    args = parser.parse_args(arguments)
    model = stzoo.create(args.model)
    hits, found, true, errors = 0, 0, 0, []
    for seed in range(1000, 1000 + args.videos):
        frames, truth = render(seed)
        timed = ((i / motions.FPS, frame) for i, frame in enumerate(frames))
        windows = stzoo.stream(model, timed, args.every, sample_fps=motions.FPS)
        events = stzoo.find_events(windows, args.high)
        pairs = match(truth, events)
        hits, true, found = hits + len(pairs), true + len(truth), found + len(events)
        for one, other in pairs:
            errors += [abs(one.start - other.start), abs(one.end - other.end)]
    print(f"{hits} of {true} events are found ({100 * hits / true:.1f} %).")
    print(f"{hits} of {found} answers are right ({100 * hits / max(found, 1):.1f} %).")
    if errors:
        middle, most = np.percentile(errors, [50, 90])
        print(f"Their ends are off by {middle:.2f} s (median), {most:.2f} s (90 %).")


def render(seed):
    """Renders a long video. Returns its frames and its events."""
    rng = np.random.default_rng(seed)
    frames, events, last = [], [], None
    for number in range(EVENTS):
        motion = rng.choice([name for name in motions.CLASSES if name != last])
        start = len(frames)
        for part in range(rng.integers(2, 5)):
            frames.extend(motions.render([seed, number, part, 2**31], str(motion))[0])
        fps = motions.FPS
        events.append(Event(str(motion), start / fps, len(frames) / fps, 1.0))
        last = motion
    return frames, events


def match(truth, events):
    """Pairs of true and found events, each once, those that overlap most first."""
    pairs = [
        (overlap(*pair), *pair)
        for pair in itertools.product(truth, events)
        if pair[0].label == pair[1].label
    ]
    chosen = []
    for shared, one, other in sorted(pairs, key=lambda pair: -pair[0]):
        if shared >= OVERLAP and not any(one is a or other is b for a, b in chosen):
            chosen.append((one, other))
    return chosen


def overlap(one, other):
    """Intersection over union of two events, in time."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return max(shared, 0) / (max(one.end, other.end) - min(one.start, other.start))


if __name__ == "__main__":
    main()
