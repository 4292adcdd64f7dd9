"""`tvrkit serve`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tvrkit.cli import output
from tvrkit.cli.opening import Opened, index_option, open_for_search, open_with
from tvrkit.cli.options import device_option, model_option, reader_option, timeout_option, workers_option
from tvrkit.cli.updating import update_index
from tvrkit.errors import InstallError
from tvrkit.frames.reading import Reading
from tvrkit.workspace import cache_folder

if TYPE_CHECKING:
    from tvrkit.serve.settings import Settings


@click.command(name="serve")
@click.argument("places", nargs=-1, metavar="[DIR]...")
@index_option
@model_option
@device_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need --token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8600, show_default=True, help="0 takes any free one.")
@click.option(
    "--token",
    envvar="TVRKIT_TOKEN",
    metavar="TOKEN|auto",
    help="What requests have to show; auto makes one.  [env: TVRKIT_TOKEN]",
)
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME", help="A further name of this server (behind a proxy)."
)
@click.option("--open", "browse", is_flag=True, help="Open the page in the browser.")
@reader_option
@workers_option
@timeout_option
def command(
    places: tuple[str, ...],
    index: str | None,
    model: str | None,
    device: str,
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    browse: bool,
    reader: str,
    workers: int,
    timeout: float,
) -> None:
    """Answer questions over HTTP, with a page.

    Only this machine reaches it, unless --host says otherwise; then a token is needed. DIR is indexed first, or brought
    up to date; without one the index is served as it is. Changes that `tvrkit index` makes to it are seen while it
    runs. Ctrl-C ends it. What it answers is described at /openapi.json.

    \b
    Examples:
      tvrkit serve ./clips --open
      tvrkit serve --host 0.0.0.0 --token auto
    """
    from tvrkit.serve.listening import listen
    from tvrkit.serve.settings import AUTO, Settings, make_token

    if token == AUTO:
        token = make_token()
    settings = Settings(host, port, token, frozenset(names))
    _require_extra()
    listen(settings).close()  # to find out that the port is taken takes no model
    with open_for_search(index, model, device, places=places) as opened:
        if places:
            update_index(opened, places, reading=Reading(workers, reader, timeout))
        _ = opened.engine  # an empty index is told of at once
        _run(settings, _again(opened), browse)


def _again(opened: Opened) -> Callable[[], Opened]:
    """Opens the same once more, for the thread it will belong to."""
    if opened.index is None:
        return lambda: opened
    place = opened.index.place
    return lambda: open_with(opened.model, opened.source, place, create=False)


def _run(settings: Settings, open_index: Callable[[], Opened], browse: bool) -> None:
    import signal

    from tvrkit.serve.server import run

    def ready(address: str) -> None:
        output.say(f"Serving at {address} (Ctrl-C ends it).")
        if browse:
            click.launch(address)

    if run(open_index, settings, cache_folder() / "serve", ready) == signal.SIGINT:
        raise KeyboardInterrupt
    output.say("Stopped.")


def _require_extra() -> None:
    missing = [
        name for name in ("starlette", "uvicorn", "jinja2", "prometheus_client") if not importlib.util.find_spec(name)
    ]
    if missing:
        from tvrkit.cli.failures import pip_install

        install = pip_install("'tvrkit[serve]'")
        raise InstallError(f"serving needs packages that are not installed ({', '.join(missing)}): {install}")
