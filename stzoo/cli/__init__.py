"""The `stzoo` command. It starts fast: a backend is imported only when it is needed."""

import sys
from importlib import import_module

import click

from stzoo.cli import quiet, terminal

COMMANDS = {  # in the order of `stzoo --help`
    "list": "answers:list_models",
    "demo": "answers:demo",
    "predict": "answers:predict",
    "stream": "streaming:stream",
    "split": "probing:split",
    "probe": "probing:probe",
    "finetune": "training:finetune",
    "evaluate": "measuring:evaluate",
    "extract": "measuring:extract",
    "explain": "measuring:explain",
    "export": "exporting:export",
    "benchmark": "benchmarking:benchmark",
    "convert": "converting:convert",
    "push": "publishing:push",
    "app": "serving:app",
}


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx):
        return list(COMMANDS)

    def get_command(self, ctx, name):
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name].split(":")
        return getattr(import_module(f"stzoo.cli.{module}"), function)

    def invoke(self, ctx):
        """Runs a command. A missing backend or extra is an error of one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            terminal.stop()
        except ImportError as error:
            raise click.ClickException(terminal.message_of(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stzoo")
@click.option("-v", "--verbose", is_flag=True, help="Show the log of TensorFlow too.")
def main(verbose):
    """Video action recognition with the models of stzoo."""
    # A byte of a file name that is not UTF-8 is written as "\\udce9", as in JSON.
    sys.stdout.reconfigure(errors="backslashreplace")
    if not verbose:
        quiet.install()
