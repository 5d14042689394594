"""The command `push`."""

from pathlib import Path

import click

from stzoo.cli import terminal


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.argument("repository", metavar="ORGANISATION/NAME")
@click.option(
    "--private/--public",
    default=None,
    help="Visibility. Default: unchanged, or the default of the Hub if it is new.",
)
@click.option("--revision", help="Branch. Default: main.")
@click.option("--message", help="Commit message.")
def push(folder, repository, private, revision, message):
    """Upload the model in FOLDER to the Hub.

    The model and its card are uploaded in one commit. First log in with `hf auth
    login`, or set HF_TOKEN. The other commands can then use
    --model hf://ORGANISATION/NAME.
    """
    import stzoo

    with terminal.one_line():
        address = stzoo.push_to_hub(
            folder,
            repository,
            private=private,
            revision=revision,
            commit_message=message,
        )
    click.echo(f"Uploaded {folder} to {address}.")
