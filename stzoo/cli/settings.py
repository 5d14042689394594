"""Options of `stzoo finetune` for the settings of a recipe: one for each field."""

import click

from stzoo.cli import options

ALPHA = click.FloatRange(0)
SHARE = click.FloatRange(0, 1, max_open=True)
COUNT = click.IntRange(1)
TEXTS = {  # field of the recipe: type, help
    "mixup": (ALPHA, "Blend clips of a batch and their labels. 0.8 is usual."),
    "cutmix": (ALPHA, "Paste boxes of other clips of a batch. 1 is usual."),
    "repeats": (COUNT, "Draw each video this many times in a batch."),
    "ema": (SHARE, "Keep a moving average of the weights, with this momentum."),
    "layer_decay": (
        click.FloatRange(0, 1, min_open=True),
        "Multiplier of the learning rate from each block of a transformer to the one "
        "before.",
    ),
    "drop_path": (SHARE, "Rate of dropped branches in a transformer."),
    "accumulate": (COUNT, "Compute a batch in this many parts, with less memory."),
}
FIELDS = (*TEXTS, "randaugment", "rematerialize")

modern = options.options(
    *(
        click.option(f"--{name.replace('_', '-')}", type=kind, help=text)
        for name, (kind, text) in TEXTS.items()
    ),
    click.option(
        "--randaugment",
        nargs=2,
        type=(click.IntRange(1), click.FloatRange(0, 10)),
        metavar="N MAGNITUDE",
        help="Draw N operations of RandAugment for each clip, with a magnitude from 0 "
        "to 10. 4 7 is usual.",
    ),
    click.option(
        "--rematerialize",
        is_flag=True,
        default=None,
        help="Compute outputs of layers again instead of keeping them, which needs "
        "less memory and more time.",
    ),
)
