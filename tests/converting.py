"""`stzoo convert`, run in this process."""

from click.testing import CliRunner

from stzoo.cli import main


def convert(*arguments):
    """What the command prints.

    Raises:
        SystemExit: with all that it prints, if it fails.
    """
    result = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise SystemExit(result.output.removeprefix("Error: ").strip())
    return result.stdout
