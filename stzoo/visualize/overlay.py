"""Draws predictions into a video."""

import os
from bisect import bisect
from fractions import Fraction

import numpy as np

from stzoo.data.frames import scale
from stzoo.data.stream import open_source

TIME_BASE = Fraction(1, 90_000)  # seconds, fine enough for any frame rate
BLUE = (86, 180, 233)  # visible on black, also to the colour-blind


def overlay(source, path, spans, answers):
    """Writes a copy of a video with predictions drawn into it. The sound is kept.

    Args:
        source: path of a video file.
        path: path of the .mp4 file to write.
        spans: sequence of tuples `(start, end)` in seconds, in order, see
            `stzoo.inference.events.spans`.
        answers: sequence of lists of tuples `(label, probability)`, one for each span.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source cannot be read, or would be overwritten.
    """
    import av

    if os.path.exists(path) and os.path.samefile(source, path):
        raise ValueError(f"{path} is the video itself. Choose another name.")
    part = f"{path}.part"
    try:
        with av.open(part, "w", format="mp4") as output:
            _copy(source, output, spans, answers)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def _copy(source, output, spans, answers):
    """Copies a video and draws the predictions into each frame."""
    import av

    with open_source(source) as opened, av.open(str(source)) as heard:
        sound = _Sound(heard, output)
        video, starts = None, [start for start, _ in spans]
        for seconds, picture in opened:
            frame = picture()
            if video is None:
                video = _stream(output, opened.fps, frame)
            place = max(bisect(starts, seconds) - 1, 0)
            size = (video.height, video.width)
            drawn = _drawn(_even(frame, size), answers[place])
            shown = av.VideoFrame.from_ndarray(drawn, "rgb24")
            shown.pts, shown.time_base = round(seconds / TIME_BASE), TIME_BASE
            output.mux(video.encode(shown))
            sound.copy(until=seconds)
        sound.copy()
        output.mux(video.encode())


def _stream(output, fps, frame):
    stream = output.add_stream("libx264", rate=Fraction(fps or 30).limit_denominator())
    stream.height, stream.width = (side - side % 2 for side in frame.shape[:2])
    stream.pix_fmt, stream.time_base = "yuv420p", TIME_BASE
    stream.codec_context.time_base = TIME_BASE
    return stream


def _even(frame, size):
    """Crops or resizes a frame to the size of the video, which is even."""
    cut = frame[: size[0], : size[1]]
    if cut.shape[:2] == size and max(np.subtract(frame.shape[:2], size)) <= 1:
        return np.ascontiguousarray(cut)
    return scale(frame, *size)


class _Sound:
    """Copies the sound of a video, as AAC, up to a time."""

    def __init__(self, heard, output):
        self._output, self._frames, self._waiting = output, iter(()), None
        self._stream = None
        if heard.streams.audio:
            source = heard.streams.audio[0]
            self._stream = output.add_stream("aac", rate=source.rate)
            self._stream.layout = "stereo" if source.channels > 1 else "mono"
            self._frames = heard.decode(source)

    def copy(self, until=None):
        """Copies the sound before `until`, in seconds, or all of the rest."""
        while self._stream is not None:
            frame, self._waiting = self._waiting or next(self._frames, None), None
            if frame is None:
                self._output.mux(self._stream.encode())
                self._stream = None
            elif until is not None and (frame.time or 0) > until:
                self._waiting = frame
                return
            else:
                self._output.mux(self._stream.encode(frame))


def _drawn(frame, answers):
    """Draws bars at the lower left of a frame, uint8 `(height, width, 3)`."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = frame.shape[:2]
    row = max(11, round(min(height, width) / 18))
    font = ImageFont.load_default(size=round(0.7 * row))
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image, "RGBA")
    wide, top = min(width, 14 * row), height - row * len(answers)
    draw.rectangle((0, top - row // 4, wide, height), (0, 0, 0, 150))
    for place, (label, probability) in enumerate(answers):
        y, text = top + row * place, f"{label}  {100 * probability:.0f} %"
        draw.rectangle((0, y, round(wide * probability), y + row - 2), (*BLUE, 110))
        draw.text((row // 3, y), text, (255, 255, 255, 255), font)
    return np.asarray(image)
