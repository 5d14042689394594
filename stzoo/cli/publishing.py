"""The command that uploads."""

from pathlib import Path

import click

from stzoo.cli import options


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.argument("repository", metavar="ORGANISATION/NAME")
@click.option(
    "--private/--public",
    default=None,
    help="Who sees the repository; by default as it is, or as the Hub makes a new one.",
)
@click.option("--revision", help="Branch; main by default.")
@click.option("--message", help="Of the commit.")
def push(folder, repository, private, revision, message):
    """Upload the model in FOLDER to the Hub, with its card, in one commit.

    Log in before with `hf auth login`, or set HF_TOKEN. The model is then
    hf://ORGANISATION/NAME for --model of the other commands.
    """
    import stzoo

    with options.one_line():
        address = stzoo.push_to_hub(
            folder,
            repository,
            private=private,
            revision=revision,
            commit_message=message,
        )
    click.echo(f"Uploaded {folder} to {address}.")
