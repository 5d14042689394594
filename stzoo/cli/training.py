"""The command that trains."""

import dataclasses
from pathlib import Path

import click

from stzoo.cli import options


@click.command()
@options.data
@click.option(
    "--model",
    "name",
    required=True,
    help="Weights to start from: NAME.TAG, a folder, or hf://....",
)
@click.option(
    "--recipe", required=True, type=options.Known("stzoo.training.recipes", "RECIPES")
)
@options.out(required=True, help="Folder of the model; a run that died goes on there.")
@click.option("--validation", help="Other videos, to choose the best epoch by.")
@click.option("--validation-split", help="Or another part of the same list.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="The rate goes with it.")
@click.option("--patience", type=click.IntRange(1), help="Epochs without a better one.")
@click.option("--no-flip", is_flag=True, help="Mirror no clips.")
@click.option(
    "--mirror-pairs",
    type=click.Path(exists=True, dir_okay=False),
    help="File with two classes a line that are mirror images of each other.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(("float32", "mixed_bfloat16", "mixed_float16")),
)
@click.option("--tensorboard", is_flag=True, help="Log for TensorBoard as well.")
@options.sample_fps
@click.option("--distributed", is_flag=True, help="Share batches among all devices.")
def finetune(*, name, out, num_workers, skip, **chosen):
    """Fit a model to the classes of DATA.

    DATA is a folder with a folder of videos for each class, a list (path and class in
    a line), or the list of a published data set. The folder that comes out is a --model
    for the other commands, with log.csv and curves.png beside it.

    Half of the clips are mirrored. Where the names of two classes differ in a side
    only, such as turn_left and turn_right, a mirrored clip gets the label of the other
    one; a class with a side and no such pair is not mirrored. What was found is
    printed. Pairs that the names do not tell go into a file, see --mirror-pairs.

    --distributed (JAX only) takes all devices of this machine. For several machines,
    run the same command on each, with KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port of
    the first), KERAS_DISTRIBUTION_NUM_PROCESSES, and KERAS_DISTRIBUTION_PROCESS_ID
    from 0; they share the folder --out.
    """
    import keras

    from stzoo.data.reading import Reading
    from stzoo.training import devices
    from stzoo.training.finetune import finetune

    data = {key: chosen[key] for key in ("source", "root", "format", "label", "split")}
    recipe = _recipe(chosen)
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
            reading=Reading(
                num_workers=num_workers, skip=skip, sample_fps=chosen["sample_fps"]
            ),
            mirror_pairs=chosen["mirror_pairs"] or (),
        )
    last = ", ".join(f"{key} {value:.4g}" for key, value in history[-1].items())
    click.echo(f"Epoch {len(history)}: {last}.\nSaved {out}.")


def _recipe(chosen):
    """The recipe, of the length and the batch that were chosen."""
    from stzoo.training.recipes import RECIPES

    if chosen["no_flip"] and chosen["mirror_pairs"]:
        raise click.UsageError("--mirror-pairs has no effect with --no-flip.")
    recipe = RECIPES[chosen["recipe"]].resized(chosen["epochs"], chosen["batch_size"])
    return dataclasses.replace(recipe, flip=False) if chosen["no_flip"] else recipe


def _callbacks(out, tensorboard):
    import keras

    return [keras.callbacks.TensorBoard(Path(out) / "tensorboard")] * tensorboard


def read_both(data, chosen, skip):
    """The videos to train on, and those to choose the best epoch by, or `None`."""
    from stzoo.data import datasets

    train = datasets.read(**data, skip=skip)
    source, split = chosen["validation"], chosen["validation_split"]
    if not (source or split):
        return train, None
    data = {**data, "source": source or data["source"], "split": split}
    return train, datasets.read(**data, skip=skip, classes=train.classes)
