"""Decoded frames as pictures: upright, RGB, of one size."""

from stzoo.data.video import scaled_size, to_rgb, turn_of

FPS = 30.0  # of a source without a frame rate


class Pictures:
    """Converts decoded frames and turns them upright. Their size can change."""

    def __init__(self):
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._size, self._turn = None, None

    def of(self, frame):
        if self._size != (frame.height, frame.width):
            self._size, self._turn = (frame.height, frame.width), turn_of(frame)
        turn = self._turn

        def picture(short_side=None):
            size = (frame.height, frame.width)[:: -1 if turn[0] else 1]
            return to_rgb(self._reformatter, frame, turn, scaled_size(size, short_side))

        return picture
