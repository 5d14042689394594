"""Opens any video: a file, a URL or a folder of frames, with PyAV or another library.

All libraries decode the same pixels at full size. Resized frames differ by 1 of 255 on
average, since PyAV converts colour and size in one pass. Libraries also show different
frames of damaged files. So report an accuracy together with its decoder.
"""

import contextlib
import functools
import logging
import os
import re

import numpy as np

from stzoo.data import files
from stzoo.data.frames import Frames, as_video
from stzoo.data.video import Video, errors_named

logger = logging.getLogger("stzoo")
# Images of optical flow next to frames: x_00001.jpg, flow_y_00001.jpg, u00001.jpg.
FLOW = re.compile(r"((.*[_-])?[xyuv]|.*flow.*)[_-]?", re.IGNORECASE)
# 8-bit modes, which Pillow and FFmpeg read in the same way. Pillow converts I, F and
# CMYK differently, and truncates 16 bits.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr")


@contextlib.contextmanager
def open_video(source, decoder="av"):
    """Context manager that opens a video.

    Args:
        source: path or URL of a video file, or of a folder of images `00001.jpg`,
            `00002.jpg` or `img_00001.jpg` and so on, or a binary file object of a
            video, or a uint8 array `(frames, height, width, 3)`, RGB. Images of
            optical flow in the folder (`x_00001.jpg`, `flow_x_00001.jpg`) are ignored.
        decoder: string, the library that decodes files:

            * `"av"`: PyAV, which is installed with stzoo;
            * `"torchcodec"`, or `"torchcodec:cuda"` on a GPU: needs
              `stzoo[torchcodec]` and FFmpeg;
            * `"tensorflow-io"`, which decodes the whole file: needs
              `stzoo[tensorflow-io]`, with TensorFlow 2.16, and FFmpeg 4.

    Yields:
        A video with a method `read`, see `stzoo.data.frames`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is not a readable video.
    """
    library, _, device = decoder.partition(":")
    if library not in ("av", "torchcodec", "tensorflow-io"):
        raise ValueError(
            'decoder must be "av", "torchcodec", "torchcodec:cuda" or "tensorflow-io". '
            f"Received: {decoder!r}."
        )
    with contextlib.ExitStack() as stack:
        if isinstance(source, np.ndarray):
            video = as_video(source)
        elif hasattr(source, "read"):
            name = str(getattr(source, "name", "")) or type(source).__name__
            video = _decoded(source, f"The file object {name}", library, device, stack)
        elif isinstance(source, str | os.PathLike):
            path = os.fsdecode(source)
            with errors_named(path):
                video = _open(path, library, device, stack)
        else:
            raise ValueError(
                "A video must be a path, a URL, a binary file object or a uint8 array "
                f"(frames, height, width, 3). Received: {type(source).__name__}."
            )
        yield video


def _open(path, library, device, stack):
    """Opens the video of a path. Resources to close are pushed to the stack."""
    if not files.is_video(path) and files.listing(path):
        return _from_folder(path)
    if library == "av" and not files.is_url(path):
        return stack.enter_context(Video(path))
    file = stack.enter_context(files.open_bytes(path))
    video = _decoded(file, path, library, device, stack)
    video.path = path
    return video


def _decoded(file, name, library, device, stack):
    """Opens the video of a file object."""
    if library == "av":
        return stack.enter_context(Video(file, name))
    with errors_named(name):
        if library == "torchcodec":
            return _by_torchcodec(file, name, device or "cpu")
        return _by_tensorflow_io(file, name)


def _from_folder(folder):
    """Opens a folder of images, in the order of the numbers in their names."""
    names = {}
    for name in files.listing(folder):
        if match := re.fullmatch(r"(.*?)(\d+)\.\w+", name):
            if files.is_image(name):
                names.setdefault(match[1], {})[int(match[2])] = name
    pictures = [name for name in names if not FLOW.fullmatch(name)]
    if len(pictures) != 1:
        raise ValueError(
            f"{folder} must contain one series of numbered images, such as 00001.jpg. "
            f"Received the prefixes: {sorted(names) or 'none'}."
        )
    if len(names) > 1:
        _log_ignored(pictures[0], tuple(sorted(names.keys() - pictures)))
    series = [name for _, name in sorted(names[pictures[0]].items())]

    def fetch(indices):
        images = [_image(files.join(folder, series[index])) for index in indices]
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise ValueError(
                f"All images of {folder} must have the same size. Received the sizes "
                f"{sorted(sizes)}."
            )
        return np.stack(images)

    return Frames(folder, len(series), fetch)


@functools.lru_cache(None)  # logs once for many such folders
def _log_ignored(used, others):
    logger.warning(
        "Folders of frames: %s are read, %s are not.",
        f"{used}*",
        ", ".join(f"{other}*" for other in others),
    )


def _image(path):
    """Reads an image as uint8 `(height, width, 3)`, with the pixels FFmpeg decodes."""
    from PIL import Image, ImageOps

    with errors_named(path, "an image"), files.open_bytes(path) as file:
        with Image.open(file) as picture:
            mode, layout = picture.mode, _layout(picture)
            if mode in MODES and "16" not in layout:
                ImageOps.exif_transpose(picture, in_place=True)
                if mode in ("P", "PA"):  # drops transparency
                    picture = picture.convert("RGBA")
                return np.asarray(picture.convert("RGB"))
        file.seek(0)
        try:
            with Video(file, path) as video:
                return video.read([0])[0]
        except ValueError as error:
            raise ValueError(
                f"{path} cannot be read as an image: FFmpeg does not support this "
                f"kind of image (Pillow mode {mode}). Convert it to 8 or 16 bits, grey "
                "or RGB."
            ) from error


def _layout(picture):
    """Returns the pixel layout of the file in Pillow's notation, such as "RGB;16B"."""
    layout = picture.tile[0][3] if picture.tile else ""
    return layout if isinstance(layout, str) else str(layout and layout[0])


def _by_torchcodec(file, name, device):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(file, dimension_order="NHWC", device=device)

    def fetch(indices):
        return decoder.get_frames_at(indices.tolist()).data.cpu().numpy()

    count, fps = len(decoder), decoder.metadata.average_fps
    return Frames(name, count, fetch, seconds=np.arange(count) / fps if fps else None)


def _by_tensorflow_io(file, name):
    import tensorflow_io as tfio

    frames = tfio.experimental.ffmpeg.decode_video(file.read()).numpy()
    return Frames(name, len(frames), frames.__getitem__)
