import io

import numpy as np
from PIL import Image

from stzoo.visualize.filmstrip import contact_sheet, filmstrip


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


def test_a_contact_sheet_has_six_frames_in_a_row():
    wide, high = np.full((30, 80, 3), 9, "uint8"), np.full((300, 100, 3), 99, "uint8")
    frames = [wide, None, high, *[wide] * 5]
    captions = ["a\nanswer: b", "x" * 99, *["a\nb"] * 6]
    sheet = Image.open(io.BytesIO(contact_sheet(frames, captions)))
    assert sheet.size == (6 * 212 + 12, 2 * (150 + 2 * 16 + 12) + 12)
    picture = np.asarray(sheet)
    tiles = [picture[12:162, 12 + 212 * n : 212 + 212 * n] for n in range(6)]
    assert (tiles[0][75:] == 9).all() and (tiles[0][:75] == 255).all()
    assert (tiles[1] == 200).all()
    assert (tiles[2][:, :50] == 99).all() and (tiles[2][:, 50:] == 255).all()
    assert (picture[206 + 75 : 206 + 150, 224:424] == 9).all()  # the eighth frame
    assert (picture[206:, 436:] == 255).all()  # there is no ninth
    text = (picture[162:190] < 100).any((0, 2))
    assert text[224:424].any() and not text[424:436].any()  # the long line is cut
    other = contact_sheet([wide], ["ß"]) != contact_sheet([wide], ["ö"])
    assert other, "both have a glyph"
    one = Image.open(io.BytesIO(contact_sheet([wide], ["a"])))
    assert one.size == (224, 12 + 150 + 16 + 12)
