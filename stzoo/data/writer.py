"""Writes video files."""

from fractions import Fraction


def write_video(path, frames, fps, quantiser=23):
    """Writes frames as an H.264 video without prediction between frames.

    So the compression has no direction of time.

    Args:
        path: path of the .mp4 file.
        frames: uint8 array of shape `(frames, height, width, 3)`, RGB, with even height
            and width.
        fps: float, frames per second.
        quantiser: int from 0 (lossless) to 51 (worst).
    """
    import av

    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1  # every frame is a key frame
        stream.thread_count = 1
        stream.options = {"preset": "ultrafast", "qp": str(quantiser)}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
