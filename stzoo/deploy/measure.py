"""Measures how fast a model answers, in a process of its own.

`stzoo benchmark` starts it as `python -m stzoo.deploy.measure REQUEST`, where REQUEST
is JSON. It prints one line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

LEAST = 3  # calls


def measure(folder, batches, seconds, threads, started):
    """Measures a saved or exported model.

    Args:
        folder: string.
        batches: list of ints, clips of a call.
        seconds: float, the time for the calls of each batch.
        threads: int, number of cores, or `None` for all.
        started: float, when this process was started, of `time.time`.

    Returns:
        List of dicts, one for each batch.
    """
    if threads:  # before any library counts the cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import numpy as np

    import stzoo

    model, rows, first = stzoo.load(folder), [], None
    for batch in batches:
        shape = (batch, *model.stzoo.clip.shape)
        x = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
        model.predict_on_batch(x)
        first = first or time.time() - started
        times = np.array(_times(lambda x=x: model.predict_on_batch(x), seconds)) / batch
        rows.append(
            {
                "clips": batch,
                "ms_per_clip": 1e3 * float(np.median(times)),
                "best_ms_per_clip": 1e3 * float(times.min()),
                "clips_per_s": 1 / float(np.median(times)),
                "calls": len(times),
                "first_answer_s": first,
                "peak_mb": peak(),
            }
        )
    return rows


def _times(call, seconds):
    """Returns the seconds of each call, for as long as `seconds`."""
    call()
    times, end = [], time.perf_counter() + seconds
    while len(times) < LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def peak():
    """Returns the peak memory of this process in MB, or `None` where it is unknown."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` includes the parent at the fork there
        (line,) = [s for s in status.read_text().splitlines() if s.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: bytes


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
