import numpy as np
from PIL import Image

from stzoo.visualize.filmstrip import filmstrip


def test_filmstrip_shows_every_frame_and_every_answer(tmp_path):
    frames = np.arange(8, dtype="uint8")[:, None, None, None] * 30
    frames = np.broadcast_to(frames, (8, 64, 64, 3))
    path = tmp_path / "film.png"
    filmstrip(frames, [("rising", 0.75), ("falling", 0.25)], path, "A title")
    picture = np.asarray(Image.open(path))
    film = picture[100, 12:-12]  # a row of pixels through all frames
    assert [tuple(film[128 * i + 64]) for i in range(8)] == [
        (30 * i,) * 3 for i in range(8)
    ]
    blue = (picture == (0, 114, 178)).all(-1)
    lengths = blue.sum(1)
    lengths = lengths[lengths > 0]
    assert lengths.max() / lengths.min() == np.float64(166) / 56  # 0.75 to 0.25 of 220
