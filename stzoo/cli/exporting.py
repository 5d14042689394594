"""The command that exports a model for other runtimes."""

from pathlib import Path

import click

from stzoo.cli import options, terminal


@click.command()
@click.argument("name", metavar="MODEL")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=options.Known("stzoo.deploy.formats", "FORMATS"),
    help="By default what the ending of FILE says.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(("float32", "float16", "int8")),
    help="Of the weights, and for int8 also of the arithmetic.",
)
@click.option("--batch", type=click.IntRange(1), help="Clips a call; any by default.")
@click.option(
    "--calibration",
    metavar="DATA",
    help="For int8: a folder or a list of videos, of which at most 100 are used.",
)
@click.option(
    "--online",
    is_flag=True,
    help="Take frames one by one: a TSM with the online shift.",
)
def export(name, file, format, precision, batch, calibration, online):
    """Export MODEL to FILE, which another runtime runs without Keras.

    MODEL is NAME.TAG, a folder, or hf://organisation/repository@revision. FILE ends in
    .onnx (ONNX Runtime), .xml (OpenVINO), .tflite (LiteRT) or .pt2 (torch.export), or
    is a folder for a SavedModel of TensorFlow. The answers of the file are compared
    with those of MODEL; if they differ, nothing is written. int8 must keep 90 % of the
    answers for --calibration, and the command prints how many it keeps. The folder of
    FILE is then a model for --model of the other commands.
    """
    import stzoo

    if (precision == "int8") != (calibration is not None):
        raise click.UsageError(
            "--precision int8 needs --calibration DATA, and no other precision takes "
            "it. DATA is a folder or a list of videos like those of the training."
        )
    with terminal.one_line(), terminal.log_shown():
        model = options.load_model(name)
        try:
            folder = stzoo.export(
                model, file, format, precision, batch, calibration, online
            )
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None
    click.echo(
        f"Exported {model.stzoo.name} to {file}. {folder / 'example.py'} runs it."
    )
