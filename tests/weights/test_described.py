import json

import pytest

from stzoo.weights.checkpoint import Source
from stzoo.weights.config import ClipConfig, ModelConfig
from stzoo.weights.described import described

LABELS = ("rising", "something falling")
CLIP = ClipConfig(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
ENTRY = ModelConfig("vjepa2_tiny", "test", "", {}, 2, CLIP, LABELS, repository="a/b")


def ask(hub, config=None, **files):
    """What is read of a repository with a config.json and other files."""
    hub.repositories["a/b"] = {
        f"{name}.json": json.dumps(value).encode()
        for name, value in {"config": config, **files}.items()
        if value is not None
    } | {"model.safetensors": b""}
    return described(Source("hf://a/b@main", ENTRY)).config


@pytest.mark.parametrize(
    "config, expected",
    [
        ({"id2label": {"0": "[Something] FALLING", "1": "rising"}}, LABELS[::-1]),
        ({"id2label": {"1": "rising", "0": "up"}}, ("up", "rising")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, LABELS),
        ({"id2label": {"0": "up", "1": "down", "2": "left"}}, LABELS),
        ({"id2label": {"0": "up", "2": "down"}}, LABELS),
        ({"id2label": ["up", "down"]}, LABELS),
        (["id2label"], LABELS),
        ({}, LABELS),
        (None, LABELS),
    ],
)
def test_classes_have_the_order_of_the_repository(hub, config, expected):
    found = ask(hub, config)
    assert found.labels == expected and found.clip == CLIP


def test_the_normalization_is_that_of_the_repository(hub):
    processor = {"image_mean": [0.5, 0.2, 0.4], "image_std": [0.1, 0.2, 0.4]}
    other = {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    clip = ask(hub, preprocessor_config=processor).clip
    assert clip.mean == pytest.approx((127.5, 51, 102))
    assert clip.std == pytest.approx((25.5, 51, 102))
    # That of videos comes first.
    files = {"preprocessor_config": other, "video_preprocessor_config": processor}
    assert ask(hub, **files).clip == clip
    half = processor | {"rescale_factor": 1 / 127.5}
    assert ask(hub, preprocessor_config=half).clip.mean == pytest.approx(
        (63.75, 25.5, 51)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": None},
        {"image_std": [0, 0, 0]},
        {"image_mean": [0.5]},
        {"rescale_factor": 0},
        {"image_mean": "abc"},
    ],
)
def test_a_normalization_in_another_form_is_not_used(hub, change):
    processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, **change}
    assert ask(hub, preprocessor_config=processor).clip == CLIP


def test_other_weights_stay_as_they_are():
    """Weights in the layout of stzoo, and those of a URL. Nothing is asked."""
    for where, entry in (
        ("hf://a/b@main", ModelConfig("vjepa2_tiny")),
        ("https://a/b.zip", ModelConfig("vjepa2_tiny", repository="https://a/b.zip")),
    ):
        source = Source(where, entry)
        assert described(source) is source
