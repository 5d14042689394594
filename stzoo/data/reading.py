"""How videos are read: one record for training, evaluation and feature extraction."""

import dataclasses
from dataclasses import dataclass

from stzoo.data.decoders import open_video
from stzoo.data.views import Views


@dataclass(frozen=True)
class Reading:
    """How videos are read.

    Args:
        num_workers: int, number of decoding threads.
        decoder: string, see `stzoo.data.decoders.open_video`.
        skip: bool, for training only: whether to log and skip videos that cannot be
            decoded, instead of raising an error. The next video of the list replaces a
            skipped one, or, without `drop_remainder`, a black clip with weight 0 does.
            Evaluation and extraction always continue, and list such videos.
        sample_fps: float, the frame rate to which videos are resampled, so that a clip
            spans the same time in all videos. `None`: the setting of the model, see
            `stzoo.weights.config.ClipConfig`.
    """

    num_workers: int = 4
    decoder: str = "av"
    skip: bool = False
    sample_fps: float | None = None

    def read(self, path, clip, views="1x1"):
        """Reads the views of a video.

        Args:
            path: string, path or URL.
            clip: `stzoo.weights.config.ClipConfig`, the input of the model.
            views: string, clips x crops.

        Returns:
            Tuple of `Views` and `""`, or of `None` and the error message.
        """
        try:
            with open_video(path, self.decoder) as video:
                return Views(video, self.timed(clip), views), ""
        except (OSError, ValueError) as error:
            return None, str(error)

    def timed(self, clip):
        """Returns a `ClipConfig` with the frame rate of this record."""
        if self.sample_fps is None:
            return clip
        return dataclasses.replace(clip, sample_fps=self.sample_fps)
