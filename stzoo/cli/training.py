"""The command `finetune`."""

import dataclasses
from pathlib import Path

import click

from stzoo.cli import options


@click.command()
@options.data
@options.model(required=True)
@click.option(
    "--recipe",
    required=True,
    type=options.Known("stzoo.training.recipes", "RECIPES"),
    help="Training recipe, such as cost.",
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
    help="Batch size. The learning rate is scaled with it.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    help="Stop after this number of epochs without improvement.",
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
@click.option("--distributed", is_flag=True, help="Train on all devices.")
def finetune(*, name, out, **chosen):
    """Fine-tune a model on DATA.

    DATA is a folder with a folder of videos for each class, a list (a path and a class
    per line), or the list of a published data set. The output folder can be the --model
    of other commands. It also has log.csv and curves.png.

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

    data = {key: chosen[key] for key in ("source", "root", "format", "label", "split")}
    recipe, skip = _recipe(chosen), chosen["skip"]
    with options.one_line(), options.log_shown():
        train, validation = read_both(data, chosen, skip)
        keras.config.set_dtype_policy(chosen["precision"])
        keras.utils.set_random_seed(chosen["seed"])
        if chosen["distributed"]:
            devices.distribute()
        history = finetune(
            options.load_model(name, classes=len(train.classes) or None),
            train,
            out,
            recipe,
            validation,
            seed=chosen["seed"],
            patience=chosen["patience"],
            callbacks=_callbacks(out, chosen["tensorboard"]),
            reading=options.pop_reading(chosen),
            mirror_pairs=chosen["mirror_pairs"] or (),
        )
    last = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
    click.echo(f"Epoch {len(history)}: {last}.\nSaved the model to {out}.")


def _recipe(chosen):
    """Returns the recipe with the chosen epochs, batch size and mirroring."""
    from stzoo.training.recipes import RECIPES

    if chosen["no_flip"] and chosen["mirror_pairs"]:
        raise click.UsageError("--mirror-pairs has no effect with --no-flip.")
    recipe = RECIPES[chosen["recipe"]].resized(chosen["epochs"], chosen["batch_size"])
    return dataclasses.replace(recipe, flip=False) if chosen["no_flip"] else recipe


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
    return train, datasets.read(**data, skip=skip, classes=train.classes)
