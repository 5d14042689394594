"""The command `convert`."""

from pathlib import Path

import click

from stzoo.cli import options


@click.command()
@click.argument("builder")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.out(required=True, help="Folder for the model.")
@click.option(
    "--option",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the builder. Can be repeated.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Text file with one class per line.",
)
@click.option("--tag", default="", help="Tag of the weights, such as kinetics400.")
def convert(builder, files, out, option, labels, tag):
    """Convert the checkpoint FILE to a model of BUILDER.

    FILE is a checkpoint of PyTorch (.pth, .pth.tar, .pt, .safetensors), MXNet (.params)
    or Caffe (.caffemodel), or the URL of a .pth whose name ends in the first digits of
    its sha256. Pass options of the builder as --option variant=a --option width=16. If
    `stzoo list --all` lists BUILDER.TAG, its options, classes and clip are used. STPN
    needs an image network for both streams (--tag imagenet), or two files, for RGB and
    for flow.
    """
    import stzoo
    from stzoo import conversion

    try:
        if labels is not None:
            labels = labels.read_text("utf-8").splitlines()
        chosen = conversion.parse_options(builder, option)
        model = conversion.convert(builder, files, tag, **chosen)
        source = " ".join(Path(file).name for file in files)
        stzoo.save(model, out, labels, tag=tag, source=source)
    except (ImportError, OSError, ValueError) as error:
        raise click.ClickException(f"The conversion failed: {error}") from None
    name, classes = model.stzoo.name, model.stzoo.classes
    click.echo(f"Saved {name} with {classes} classes to {out}.")
