import model_cards

import stzoo


def test_model_cards_are_those_of_the_entries():
    """If this fails, run `python scripts/model_cards.py`."""
    assert (model_cards.ROOT / "MODEL_CARDS.md").read_text(
        "utf-8"
    ) == model_cards.cards()


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
    row = model_cards.row(found["tsm_mobilenetv2.kinetics400"])
    assert row == f"| {' | '.join(cells)} |"
    cells = "`stpn_tiny.motions`", "12 motions", "1.3 M", "0.1"
    cells += "–", "98.0", "in the package, needs `stzoo[flow]`"
    row = model_cards.row(found["stpn_tiny.motions"])
    assert row == f"| {' | '.join(cells)} |"
