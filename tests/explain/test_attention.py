import numpy as np
import pytest
from harness import close, numpy
from PIL import Image

import stzoo
from stzoo.data import motions
from stzoo.explain.attention import attention, picture

RNG = np.random.default_rng(0)
SMALL = dict(backbone="vgg16", width=4, dim=16, length=2, input_shape=(6, 64, 96, 5))


@pytest.fixture(scope="module")
def model():
    return stzoo.stpn_tiny(classes=4, **SMALL)


def test_weights_are_those_of_the_pooling(model):
    clips = RNG.integers(0, 256, (9, 6, 64, 96, 5)).astype("uint8")
    weights, logits = attention(model, clips)
    assert weights.shape == (9, 2, 3)
    np.testing.assert_allclose(weights.sum((1, 2)), 1, rtol=1e-5)
    close(logits, model.predict(clips, verbose=0))
    layer = model.get_layer("attention")
    spatial, _ = layer.input
    network = type(model)(model.input, [spatial, layer.output])
    maps, pooled = map(numpy, network.predict_on_batch(clips))
    close(pooled, (maps[:, 0] * weights[..., None]).sum((1, 2)))


@pytest.mark.parametrize("frames", [1, 21])
def test_picture(model, frames, tmp_path):
    """A frame is in full colour where attention is largest, and grey elsewhere."""
    motions.save(tmp_path / "video.mp4", motions.render(2)[0][:frames])
    answers = picture(model, tmp_path / "video.mp4", tmp_path / "a.png", frames=4)
    assert len(answers) == 3 and answers[0][1] >= answers[1][1]
    seen = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    film = seen[34 : 34 + 64, 12 : 12 + 4 * 96]
    coloured = film[..., 0] - film[..., 2]
    places = coloured.reshape(2, 32, 4, 3, 32).mean((1, 4))  # rows, frames, columns
    assert (places.max((0, 2)) > 30).all()


def test_a_model_without_attention_is_refused():
    model = stzoo.stpn_tiny(attention=False, **SMALL)
    with pytest.raises(ValueError, match="has no attention. Build it with"):
        attention(model, np.zeros((1, 6, 64, 96, 5), "uint8"))
