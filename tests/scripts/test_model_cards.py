import model_cards


def test_model_cards_are_those_of_the_entries():
    """If this fails, run `python scripts/model_cards.py`."""
    assert (model_cards.ROOT / "MODEL_CARDS.md").read_text(
        "utf-8"
    ) == model_cards.cards()


def test_the_table_of_the_readme_is_that_of_the_entries():
    text = (model_cards.ROOT / "README.md").read_text("utf-8")
    assert model_cards.START in text
    assert text == model_cards.readme(text)
