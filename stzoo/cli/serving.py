"""The command `stzoo app`."""

import ipaddress
import secrets

import click

from stzoo.cli import terminal

USER = "stzoo"


@click.command()
@click.option(
    "--model",
    "names",
    multiple=True,
    help="Model to offer: NAME.TAG, a folder, or hf://organisation/repository@revision."
    " Can be repeated. Default: all available weights.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen at."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen at. Default: the first free one from 7860.",
)
@click.option(
    "--password",
    envvar="STZOO_APP_PASSWORD",
    show_envvar=True,
    prompt=True,
    prompt_required=False,
    hide_input=True,
    help=f"Password of the user {USER!r}. Without a value, it is asked for. Default: "
    "none on this machine, and a new one for other hosts.",
)
def app(names, host, port, password):
    """Serve a page that names the action in a video.

    Drop a video there, or record one. The page shows the answer, the classes over
    time, the saliency, and the code in Python. By default, only this machine can open
    it. Press Ctrl-C to stop.
    """
    from stzoo import app as served

    if password == "":
        raise click.BadParameter("the password is empty.", param_hint="--password")
    with terminal.one_line():
        page = served.build(names)
        if not (password or is_loopback(host)):
            password = secrets.token_urlsafe(12)
            click.echo(f"The user is {USER}, and the password is {password}")
        terminal.end_like_ctrl_c()  # so that uploads are deleted
        served.launch(
            page,
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            auth=(USER, password) if password else None,
            auth_message=f"The user is {USER}.",
            prevent_thread_lock=True,
        )
        click.echo(f"Open {page.local_url} in a browser. Press Ctrl-C to stop.")
    page.block_thread()


def is_loopback(host):
    """Returns whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
