"""The command that converts foreign checkpoints."""

from pathlib import Path

import click

from stzoo.cli import options


@click.command()
@click.argument("builder")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.out(required=True, help="Folder to write.")
@click.option("--option", multiple=True, metavar="NAME=VALUE", help="Of the builder.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Text file, a class on each line."
)
@click.option("--tag", default="", help="Name of the weights, such as kinetics400.")
def convert(builder, files, out, option, labels, tag):
    """Convert the checkpoint FILE to a folder with a model of BUILDER.

    FILE is a checkpoint of PyTorch (.pth, .pth.tar, .pt, .safetensors), MXNet (.params)
    or Caffe (.caffemodel), or the URL of a .pth whose name ends in the first digits of
    its sha256. Options of the builder follow as --option variant=a --option width=16.
    Where --tag names weights of `stzoo list --all`, the options, the classes and the
    preparation of clips are theirs. STPN takes a network of images for both streams
    (--tag imagenet), or two files, of RGB and of flow.
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
        raise click.ClickException(f"Not converted: {error}") from None
    click.echo(f"{out} holds {model.stzoo.name} for {model.stzoo.classes} classes.")
