"""One way to open a video, whatever it is: a file, a URL or a folder of frames, decoded
by PyAV or by another library.

Whole frames are the same pixels by all of them. Resized ones differ, by 1 of 255 on
average, as PyAV changes colour and size in one pass; and of damaged files, libraries
show different frames. So an accuracy should be told with the decoder that it was
measured with.
"""

import contextlib
import os
import re

import numpy as np

from stzoo.data import files
from stzoo.data.transforms import resize
from stzoo.data.video import Video


@contextlib.contextmanager
def open_video(path, decoder="av"):
    """Opens a video, for a `with` block.

    Args:
        path: path or URL of a video file, or of a folder of images `00001.jpg`,
            `00002.jpg` or `img_00001.jpg` and so on.
        decoder: string, what decodes files:

            * `"av"`: PyAV, which comes with stzoo;
            * `"torchcodec"`, or `"torchcodec:cuda"` on a GPU: `stzoo[torchcodec]`,
              and FFmpeg;
            * `"tensorflow-io"`, which decodes the whole file: `stzoo[tensorflow-io]`,
              which is TensorFlow 2.16, and FFmpeg 4.

    Yields:
        `stzoo.data.video.Video` or `Frames`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a video that can be read.
    """
    path = os.fspath(path)
    library, _, device = decoder.partition(":")
    if library not in ("av", "torchcodec", "tensorflow-io"):
        raise ValueError(
            'decoder must be "av", "torchcodec", "torchcodec:cuda" or "tensorflow-io". '
            f"Received: {decoder!r}."
        )
    with contextlib.ExitStack() as stack:
        if not files.is_video(path) and files.listing(path):
            yield _from_folder(path)
        elif library == "av":
            source = path
            if files.remote(path):
                source = stack.enter_context(files.open_bytes(path))
            video = stack.enter_context(Video(source))
            video.path = path
            yield video
        else:
            file = stack.enter_context(files.open_bytes(path))
            if library == "torchcodec":
                yield _by_torchcodec(file, path, device or "cpu")
            else:
                yield _by_tensorflow_io(file, path)


class Frames:
    """Frames that are read as those of a `stzoo.data.video.Video`.

    Args:
        name: string, path or URL of the video.
        length: int, number of frames.
        fetch: function from an array of unique, sorted indices to a uint8 array
            `(indices, height, width, 3)`, RGB.
    """

    def __init__(self, name, length, fetch):
        self.name = self.path = name
        self._length, self._fetch = length, fetch

    def __len__(self):
        return self._length

    def read(self, indices, short_side=None):
        """The frames that are asked for, resized or as they are, see `Video.read`."""
        indices = np.asarray(indices, dtype=int).reshape(-1)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise ValueError(
                f"{self.name} has {len(self)} frames, 0 to {len(self) - 1}. "
                f"Received indices from {indices.min()} to {indices.max()}."
            )
        wanted, places = np.unique(indices, return_inverse=True)
        frames = self._fetch(wanted)
        return (resize(frames, short_side) if short_side else frames)[places]


def _from_folder(folder):
    """Images in the order of the numbers in their names."""
    from PIL import Image

    names = {}
    for name in files.listing(folder):
        if match := re.fullmatch(r"(.*?)(\d+)\.\w+", name):
            if files.is_image(name):
                names.setdefault(match[1], {})[int(match[2])] = name
    if len(names) != 1:
        raise ValueError(
            f"{folder} must hold images with numbers for names, such as 00001.jpg, of "
            f"one series. Received: {sorted(names) or 'none'}."
        )
    (series,) = names.values()
    series = [name for _, name in sorted(series.items())]

    def image(index):
        path = files.join(folder, series[index])
        try:
            with files.open_bytes(path) as file, Image.open(file) as picture:
                return np.asarray(picture.convert("RGB"))
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from None

    def fetch(indices):
        images = [image(index) for index in indices]
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise ValueError(f"{folder}: its images have the sizes {sorted(sizes)}.")
        return np.stack(images)

    return Frames(folder, len(series), fetch)


def _by_torchcodec(file, name, device):
    from torchcodec.decoders import VideoDecoder

    try:
        decoder = VideoDecoder(file, dimension_order="NHWC", device=device)
        length = len(decoder)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as a video: {error}") from error

    def fetch(indices):
        return decoder.get_frames_at(indices.tolist()).data.cpu().numpy()

    return Frames(name, length, fetch)


def _by_tensorflow_io(file, name):
    import tensorflow as tf
    import tensorflow_io as tfio

    try:
        frames = tfio.experimental.ffmpeg.decode_video(file.read()).numpy()
    except tf.errors.OpError as error:
        raise ValueError(f"{name} cannot be read as a video: {error}") from error
    return Frames(name, len(frames), frames.__getitem__)
