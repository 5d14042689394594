"""python scripts/benchmark_pipeline.py --out benchmarks/pipeline.csv

Measures how many clips a second reach a model: from the pipeline of stzoo (Grain, which
decodes what a clip needs), from the same pipeline when it decodes whole files, and when
`keras.utils.PyDataset` runs the threads. The videos are rendered: 10 s at 30 frames a
second, H.264 as x264 makes it by default. A clip is 8 x 8 frames of 224 x 224, batches
are of 8, and the model does nothing. Times run from the end of batch 3, since threads
read ahead.
"""

import argparse
import contextlib
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import av
import keras
import numpy as np

from stzoo.data import motions, pipeline
from stzoo.data.datasets import read
from stzoo.data.decoders import open_video
from stzoo.data.transforms import Augment, resize, training_clip
from stzoo.spec import Clip

SIZES, COUNT, FRAMES = ((240, 320), (720, 1280)), 16, 300
CLIP, BATCH, WARM = Clip(), 8, 3


class Threads(keras.utils.PyDataset):
    """The clips of the pipeline, in a loop over each batch."""

    def __init__(self, videos, batches, workers):
        super().__init__(workers=workers, max_queue_size=2)
        self.videos, self.batches = videos, batches

    def __len__(self):
        return self.batches

    def __getitem__(self, index):
        rows = np.arange(index * BATCH, (index + 1) * BATCH) % len(self.videos)
        views = []
        for row in rows:
            rng = np.random.default_rng((0, index, row))
            with open_video(self.videos.paths[row]) as video:
                views.append(training_clip(video, CLIP, rng, Augment())[0])
        return (np.stack(views),)


@contextlib.contextmanager
def whole(path, decoder):
    """All frames of a video as an array."""
    with av.open(path) as container:
        frames = container.decode(video=0)
        yield np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def render(folder, size):
    """A motion forwards and backwards, until it has lasted 10 seconds."""
    for number in range(COUNT):
        frames = resize(motions.render(number)[0], max(size))
        top = (frames.shape[1] - size[0]) // 2
        frames = frames[:, top : top + size[0], : size[1]]
        there_and_back = [*range(len(frames)), *range(len(frames) - 1, -1, -1)]
        with av.open(str(folder / f"{number:02d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.height, stream.width = size
            for at in range(FRAMES):
                frame = frames[there_and_back[at % len(there_and_back)]]
                picture = av.VideoFrame.from_ndarray(frame, "rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())


def measure(data, batches):
    """Clips a second, of which a model that does nothing takes batches."""
    inputs = keras.Input(CLIP.shape, dtype="uint8")
    model = keras.Model(inputs, keras.ops.cast(inputs[:, 0, 0, 0], "float32"))
    ends = []
    note = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.predict(data, steps=batches, callbacks=[note], verbose=0)
    return (batches - WARM) * BATCH / (ends[-1] - ends[WARM - 1])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out", type=Path, help="a CSV; by default, the terminal")
    parser.add_argument("--batches", default=15, type=int)
    parser.add_argument("--workers", default=os.cpu_count(), type=int)
    args = parser.parse_args()
    rows = [("size", "grain", "grain, whole files", "PyDataset", "workers")]
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            render(Path(folder), size)
            videos = read(folder)
            options = dict(train=True, workers=args.workers)
            rates = [
                measure(pipeline.clips(videos, CLIP, BATCH, **options), args.batches)
            ]
            pipeline.open_video = whole
            rates += [
                measure(pipeline.clips(videos, CLIP, BATCH, **options), args.batches)
            ]
            pipeline.open_video = open_video
            rates += [
                measure(Threads(videos, args.batches, args.workers), args.batches)
            ]
        rows.append(
            (f"{size[1]}x{size[0]}", *(f"{r:.1f}" for r in rates), args.workers)
        )
    with (
        args.out.open("w", newline="")
        if args.out
        else contextlib.nullcontext(sys.stdout) as file
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
