"""The command `finetune`."""

import dataclasses
import sys
from pathlib import Path

import click

from stzoo.cli import options, settings, terminal


def check_clip(context, option, clip):
    """Converts "8x112x112" to (8, 112, 112, 3)."""
    if clip is None:
        return None
    sizes = clip.lower().split("x")
    if len(sizes) not in (3, 4) or not all(s.isdecimal() and int(s) for s in sizes):
        raise click.BadParameter(
            "expected frames, height and width, such as 16x112x112, or 16x112x112x2 "
            f"for a network with 2 channels of optical flow. Received: {clip!r}."
        )
    return tuple(map(int, [*sizes, 3][:4]))


class Frozen(click.Choice):
    """What a recipe freezes: a word, or a number of stages."""

    def __init__(self):
        super().__init__(("none", "norms", "backbone", "encoder"))

    def convert(self, value, param, ctx):
        if isinstance(value, str) and value.isdecimal() and int(value):
            return int(value)
        return super().convert(value, param, ctx)


changes = options.options(
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        help="Learning rate for the batch size. It is not scaled.",
    ),
    click.option(
        "--optimizer",
        type=click.Choice(("sgd", "adamw")),
        help="Optimizer. Another one than that of the recipe needs --learning-rate.",
    ),
    click.option("--weight-decay", type=click.FloatRange(0), help="Weight decay."),
    click.option(
        "--dropout",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of the features that is dropped before the head.",
    ),
    click.option(
        "--freeze",
        type=Frozen(),
        metavar="none|norms|N|backbone|encoder",
        help="Layers that are not trained: none, norms (all batch norms), a number "
        "(also that many of the first stages, or blocks of a transformer), backbone "
        "(all but the head), or encoder (all but the attentive probe of V-JEPA 2).",
    ),
    click.option(
        "--label-smoothing",
        type=click.FloatRange(0, 1, max_open=True),
        help="Share of a label that is spread over all classes.",
    ),
    click.option(
        "--focal",
        type=click.FloatRange(0),
        help="Exponent of the focal loss, for several labels a video, such as 2.",
    ),
)


@click.command()
@options.data
@options.model(required=True)
@click.option(
    "--recipe",
    default="small_data",
    show_default=True,
    type=options.Known("stzoo.training.recipes", "RECIPES"),
    help="Training recipe: small_data, or one of a paper, such as cost.",
)
@options.out(required=True, help="Folder for the model. An interrupted run resumes.")
@click.option("--validation", help="Validation data, to choose the best epoch.")
@click.option("--validation-split", help="Or a split of DATA for validation.")
@click.option(
    "--epochs", type=click.IntRange(1), help="Number of epochs. Default: the recipe's."
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Batch size. The learning rate of the recipe is scaled with it.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    help="Stop after this number of epochs without improvement. 0: never. Default: the "
    "recipe's.",
)
@changes
@settings.modern
@click.option(
    "--class-weight",
    metavar="balanced|FILE",
    help="Weights of classes: balanced, or a file with a class and a weight per line.",
)
@click.option(
    "--clip",
    metavar="FRAMESxHxW",
    callback=check_clip,
    help="Size of a clip, such as 16x112x112. Default: the model's.",
)
@click.option("--no-flip", is_flag=True, help="Do not mirror clips.")
@click.option(
    "--mirror-pairs",
    type=click.Path(exists=True, dir_okay=False),
    help="File with pairs of classes that are mirror images, two names per line.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Random seed.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(("float32", "mixed_bfloat16", "mixed_float16")),
    help="Precision of the computation.",
)
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard.")
@options.sample_fps
@options.decoder
@click.option("--distributed", is_flag=True, help="Train on all devices.")
@click.option(
    "--find-rate",
    is_flag=True,
    help="Do not train, but test learning rates and print one that suits the recipe.",
)
def finetune(*, name, out, **chosen):
    """Fine-tune a model on DATA.

    DATA is a folder with a folder of videos for each class, a list (a path and a class
    per line), or the list of a published data set. The output folder can be the --model
    of other commands. It also has log.csv and curves.png.

    A video can have several labels, see --multi-label. The model then says of each
    class whether a video shows it. With --validation, the threshold of each class is
    that with the best F1.

    The recipe small_data is for few videos. Options such as --learning-rate change a
    setting of the recipe. With
    --validation, the epoch with the best accuracy is kept, and training stops when it
    does not improve.

    Half of the clips are mirrored. If the names of two classes differ only in left and
    right, such as turn_left and turn_right, a mirrored clip gets the label of the other
    class. A class with a side but without such a pair is not mirrored. The pairs are
    logged. Use --mirror-pairs if the names do not show the pairs.

    --distributed (JAX only) uses all devices of this machine. For several machines, run
    the same command on each one, with KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port of
    the first one), KERAS_DISTRIBUTION_NUM_PROCESSES, and KERAS_DISTRIBUTION_PROCESS_ID
    (from 0). They must share the folder --out.
    """
    import keras

    from stzoo.training import devices
    from stzoo.training.finetune import finetune
    from stzoo.training.rate import find_rate

    if chosen["find_rate"] and chosen["distributed"]:
        raise click.UsageError("--find-rate uses one device. Remove --distributed.")
    data = options.data_of(chosen)
    recipe, skip = _recipe(chosen), chosen["skip"]
    with terminal.resumable(out), terminal.one_line(), terminal.log_shown():
        train, validation = read_both(data, chosen, skip)
        keras.config.set_dtype_policy(chosen["precision"])
        keras.utils.set_random_seed(chosen["seed"])
        if chosen["distributed"]:
            devices.distribute()
        model = _model(name, len(train.classes) or None, chosen["clip"], out)
        how = {
            "seed": chosen["seed"],
            "reading": options.pop_reading(chosen),
            "mirror_pairs": chosen["mirror_pairs"] or (),
            "class_weight": chosen["class_weight"],
        }
        if chosen["find_rate"]:
            found = find_rate(model, train, out, recipe, **how)
            click.echo(f"--learning-rate {found.suggested:.2g} (see {out}/rates.csv)")
            return
        history = finetune(
            model,
            train,
            out,
            recipe,
            validation,
            patience=chosen["patience"],
            callbacks=_callbacks(out, chosen["tensorboard"]),
            verbose="auto" if sys.stdout.isatty() else 2,  # a line for each epoch
            **how,
        )
    last = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
    click.echo(f"Epoch {len(history)}: {last}.\nSaved the model to {out}.")


def _recipe(chosen):
    """Returns the recipe with the chosen settings."""
    from stzoo.training.recipes import RECIPES

    if chosen["no_flip"] and chosen["mirror_pairs"]:
        raise click.UsageError("--mirror-pairs has no effect with --no-flip.")
    recipe = RECIPES[chosen["recipe"]].resized(chosen["epochs"], chosen["batch_size"])
    names = ("learning_rate", "weight_decay", "dropout", "freeze", "label_smoothing")
    names += ("focal", *settings.FIELDS)
    changed = {name: chosen[name] for name in names if chosen[name] is not None}
    if chosen["optimizer"] not in (None, recipe.algorithm):
        if chosen["learning_rate"] is None:
            raise click.UsageError(
                f"--optimizer {chosen['optimizer']} needs --learning-rate, since that "
                f"of the recipe {recipe.name} is for {recipe.algorithm}."
            )
        changed["algorithm"] = chosen["optimizer"]
    if chosen["no_flip"]:
        changed["flip"] = False
    try:
        return dataclasses.replace(recipe, **changed)
    except ValueError as error:  # such as an --accumulate that does not divide a batch
        raise click.UsageError(str(error)) from None


def _model(name, classes, size, out):
    """Loads a model. To resume a run, it does not say that the head is new."""
    from stzoo.training.state import STATE

    with terminal.log_hidden((out / STATE).exists()):
        return options.load_model(name, classes=classes, input_shape=size)


def _callbacks(out, tensorboard):
    import keras

    return [keras.callbacks.TensorBoard(Path(out) / "tensorboard")] * tensorboard


def read_both(data, chosen, skip):
    """Returns the training videos, and the validation videos or `None`."""
    from stzoo.data import datasets

    train = datasets.read(**data, skip=skip)
    source, split = chosen["validation"], chosen["validation_split"]
    if not (source or split):
        return train, None
    data = {**data, "source": source or data["source"], "split": split}
    data["multi_label"] = train.multi_label
    return train, datasets.read(**data, skip=skip, classes=train.classes)
