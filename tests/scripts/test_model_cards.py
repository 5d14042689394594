import re

import model_cards
import pytest

import stzoo
from stzoo.weights import checkpoint
from stzoo.zoo import ENTRIES, FAMILIES

CARDS = (model_cards.ROOT / "MODEL_CARDS.md").read_text("utf-8")


def test_model_cards_are_those_of_the_entries():
    """If this fails, run `python scripts/model_cards.py`."""
    assert model_cards.cards() == CARDS


def test_model_cards_have_a_section_for_each_family_and_a_row_for_each_entry():
    assert len(CARDS.splitlines()) < 400
    assert CARDS.count("\n## ") == len(FAMILIES)
    assert len(re.findall(r"^\* Paper: .*\b20\d\d\b", CARDS, re.M)) == len(FAMILIES)
    assert sorted(re.findall(r"^\| `(\S+)`", CARDS, re.M)) == sorted(ENTRIES)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        (
            "cstm_tiny.motions",
            ("motions", "12", "–", "99.5 (1x1 views, 2400 videos)", "1.4 M", "0.2")
            + ("2.8 MB", "in the package, scripts/train_motions.py", "Apache-2.0"),
        ),
        (
            "c2d_resnet50.kinetics400_paper",
            ("kinetics400", "400", "71.5 / 89.8 (10 clips)", "–", "24.3 M", "19")
            + ("–", "Li et al., CVPR 2019, no link", "unknown"),
        ),
        (
            "tsm_resnet50.kinetics400_mit",
            ("kinetics400", "400", "71.2 (1 crop)", "–", "24.3 M", "33", "–")
            + (
                "Lin et al., [convert](https://hanlab18.mit.edu/projects/tsm/models/"
                "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth)",
                "MIT",
            ),
        ),
        (
            "videomae_base.kinetics400",
            ("kinetics400", "400", "81.5 (5x3 views)", "–", "86.5 M", "180", "346 MB")
            + (
                "[Tong et al.](https://huggingface.co/MCG-NJU/"
                "videomae-base-finetuned-kinetics)",
                "CC-BY-NC-4.0",
            ),
        ),
        (
            "trn_bninception.imagenet",
            ("–", "a new head", "–", "–", "13.1 M", "16", "53 MB")
            + (
                "[ImageNet, converted from Caffe by pretrained-models.pytorch](http://"
                "data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth)",
                "unknown",
            ),
        ),
    ],
)
def test_a_row_of_the_cards_keeps_reported_and_measured_apart(name, cells):
    (line,) = [one for one in CARDS.splitlines() if one.startswith(f"| `{name}` |")]
    assert line == f"| `{name}` | {' | '.join(cells)} |"
    assert len(line.split(" | ")) == len(model_cards.CARD_COLUMNS)


def test_the_cards_in_the_folders_are_those_of_their_records():
    """If this fails, run `python scripts/model_cards.py`."""
    for folder in (model_cards.ROOT / "weights" / "hub").iterdir():
        text = model_cards.folder_card(checkpoint.read(folder).config)
        assert (folder / "README.md").read_text("utf-8") == text


def test_the_table_of_the_readme_is_that_of_the_entries():
    text = (model_cards.ROOT / "README.md").read_text("utf-8")
    assert model_cards.START in text
    assert text == model_cards.readme(text)


def test_the_weights_of_the_readme_can_be_had():
    available = {weights.name for weights in stzoo.list_models(pretrained=True)}
    assert available.issuperset(model_cards.TAKEN)


def test_a_row_of_the_readme_keeps_reported_and_measured_apart():
    found = {one.name: one for one in stzoo.list_models(pretrained=True)}
    cells = "`tsm_mobilenetv2.kinetics400`", "400 kinetics400", "2.7 M", "2.4"
    cells += "68.7 / 88.3", "–", "download.openmmlab.com"
    assert model_cards.readme_cells(found["tsm_mobilenetv2.kinetics400"]) == cells
    cells = "`stpn_tiny.motions`", "12 motions", "1.3 M", "0.1"
    cells += "–", "98.0", "in the package, needs `stzoo[flow]`"
    assert model_cards.readme_cells(found["stpn_tiny.motions"]) == cells
