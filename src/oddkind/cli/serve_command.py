"""The command `serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from oddkind.cli.options import Rate
from oddkind.errors import InputError
from oddkind.naming import on_one_line

app = typer.Typer()

MB = 1 << 20


@app.command()
def serve(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Models that 'oddkind fit' wrote."),
    ],
    host: Annotated[
        str,
        typer.Option(help="Address to listen at; without --token-file only one of this computer."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File that holds the bearer token that clients must send, of at least 16 characters."),
    ] = None,
    false_alarm_rate: Rate = None,
    max_body: Annotated[float, typer.Option(help="Largest request in MB; a larger one is refused (413).")] = 32,
    max_samples: Annotated[int, typer.Option(help="Most samples, or windows of files, in a request.", min=1)] = 10_000,
    max_pixels: Annotated[
        int, typer.Option(help="Most pixels of a picture, in millions, before it is resized.", min=1)
    ] = 50,
    queue: Annotated[
        int,
        typer.Option(help="Most requests that wait or are scored; others are refused (429).", min=1),
    ] = 256,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is given up (408, 503).")] = 30,
) -> None:
    """Score over HTTP: POST /models/NAME/score takes arrays, sounds, pictures and tables, and says what 'score' says.

    / is a page to try it, /models says what each model takes, /metrics is for Prometheus, and /openapi.json describes
    all of it. SIGHUP reads the models again without losing a request; SIGTERM finishes what has begun, and stops.
    """
    if not 0 < max_body <= 1 << 12:
        raise InputError(f"--max-body {max_body:g}; it must be above 0 and at most 4096 MB")
    if not 0 < timeout <= 86_400:
        raise InputError(f"--timeout {timeout:g}; it must be above 0 and at most 86400 seconds")
    from oddkind.serve.limits import Limits
    from oddkind.serve.server import Token, address_of, listen, run
    from oddkind.serve.service import Service

    limits = Limits(int(max_body * MB), max_samples, max_pixels * 1_000_000, queue=queue, timeout=timeout)
    token = Token(token_file)
    with listen(host, port, with_token=token_file is not None) as listening:
        service = Service(models, limits, false_alarm_rate=false_alarm_rate)
        text = on_one_line(f"oddkind: {', '.join(service.models.served)} at {address_of(listening)}")
        run(service, listening, token, lambda: print(text, file=sys.stderr, flush=True))
