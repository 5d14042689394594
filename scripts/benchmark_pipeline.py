"""python scripts/benchmark_pipeline.py

Measures how many clips per second reach a model: from the pipeline of stzoo (Grain,
which decodes only what a clip needs), from the same pipeline decoding whole files, and
with the threads of `keras.utils.PyDataset`. The videos are rendered: 10 s at 30 frames
per second, H.264 with the defaults of x264. A clip is 8 x 8 frames of 224 x 224, a
batch has 8 clips, and the model does nothing. Time is measured from batch 3, since
threads prefetch.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import av
import keras
import numpy as np

from stzoo.data import motions, pipeline
from stzoo.data.datasets import read
from stzoo.data.decoders import open_video
from stzoo.data.frames import resize
from stzoo.data.transforms import crop
from stzoo.data.views import training_clip
from stzoo.weights.config import ClipConfig

SIZES, COUNT, FRAMES = ((240, 320), (720, 1280)), 16, 300
CLIP, BATCH, BATCHES, WARM = ClipConfig(), 8, 15, 3


class Threads(keras.utils.PyDataset):
    """The clips of the pipeline, with a loop over each batch."""

    def __init__(self, videos, workers):
        super().__init__(workers=workers, max_queue_size=2)
        self.videos = videos

    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        views = []
        for row in np.arange(index * BATCH, (index + 1) * BATCH) % len(self.videos):
            rng = np.random.default_rng((0, index, row))
            with open_video(self.videos.paths[row]) as video:
                views.append(training_clip(video, CLIP, rng)[0])
        return (np.stack(views),)


@contextlib.contextmanager
def whole(path, decoder):
    """Decodes all frames of a video."""
    with av.open(path) as container:
        frames = container.decode(video=0)
        yield np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def render(folder, size, count=COUNT):
    """Renders motions, repeated forwards and backwards for 10 seconds."""
    for number in range(count):
        frames = crop(resize(motions.render(number)[0], max(size)), *size)
        frames = np.concatenate([frames, frames[::-1]])
        with av.open(str(folder / f"{number:02d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.height, stream.width = size
            for at in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(frames[at % len(frames)], "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def measure(data):
    """Returns the clips per second that reach a model that does nothing."""
    ends, inputs = [], keras.Input(CLIP.shape, dtype="uint8")
    model = keras.Model(inputs, keras.ops.cast(inputs[:, 0, 0, 0], "float32"))
    note = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.predict(data, steps=BATCHES, callbacks=[note], verbose=0)
    return (BATCHES - WARM) * BATCH / (ends[-1] - ends[WARM - 1])


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--workers", default=os.cpu_count(), type=int)
    workers = parser.parse_args().workers
    print("size,grain,grain whole files,PyDataset")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            render(Path(folder), size)
            videos, rates = read(folder), []
            for pipeline.open_video in (open_video, whole):
                options = dict(
                    train=True, reading=pipeline.Reading(num_workers=workers)
                )
                rates.append(measure(pipeline.clips(videos, CLIP, BATCH, **options)))
            rates.append(measure(Threads(videos, workers)))
        print(f"{size[1]}x{size[0]}", *(f"{rate:.1f}" for rate in rates), sep=",")


if __name__ == "__main__":
    main()
