"""``peephole models``: what there is, whose it is, whether it is as published; and fetching one by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .models.fetch import Progress

SOME_FAILED = 1
SHORT = 12
"""Digits of a hash in a table."""


@click.group()
def models() -> None:
    """Where the models come from, their licences, and whether they are as published."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line a model.")
def list_models(as_json: bool) -> None:
    """Show every model: name, kind, licence, commercial use, size, hash, and where it is."""
    from .models import store
    from .models.catalogue import CATALOGUE

    if as_json:
        for entry in CATALOGUE:
            path = store.find(entry.asset)
            click.echo(json.dumps(entry.to_dict() | {"path": str(path) if path else None}))
        return
    rows: list[tuple[str, ...]] = [("name", "kind", "licence", "commercial", "size", "sha256", "from", "here")]
    for entry in CATALOGUE:
        asset = entry.asset
        path = store.find(asset)
        here = "no" if path is None else "fetched" if path == store.fetched(asset) else "yes"
        rows.append(
            (
                asset.name,
                entry.kind,
                asset.licence,
                "yes" if asset.commercial else "no",
                f"{asset.size / 1e6:.1f} MB",
                asset.sha256[:SHORT],
                asset.package or "fetch",
                here,
            )
        )
    for line in _table(rows):
        click.echo(line)
    click.echo()
    for entry in CATALOGUE:
        click.echo(f"{entry.name}: {entry.title}; {entry.asset.origin}")


@models.command()
def verify() -> None:
    """Hash every model's file; exit status 1 where one is missing or damaged."""
    from .models.catalogue import CATALOGUE
    from .models.catalogue import verify as verified

    failed = False
    for entry in CATALOGUE:
        verdict = verified(entry)
        failed |= not verdict.good
        state = "ok  " if verdict.path else "--  " if verdict.good else "FAIL"
        click.echo(f"{state}  {entry.name}: {verdict.path or ('not fetched' if verdict.good else verdict.reason)}")
    sys.exit(SOME_FAILED if failed else 0)


@models.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Download a model by NAME from its official address, unless it is here, and print where it is.

    The file is checked before it is put in place. An attempt that broke off is gone on with by the next one.
    """
    from .models import catalogue
    from .models.fetch import fetch as fetched

    entry = catalogue.find(name)
    path = catalogue.verify(entry).path
    if path is None:
        with _bar(entry.name) as progress:
            path = fetched(entry.asset, progress=progress)
    click.echo(path)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


@contextmanager
def _bar(name: str) -> Iterator[Progress | None]:
    """Told how far a download is, where a person waits at a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=name, unit="B", unit_scale=True, file=sys.stderr, leave=False) as bar:

        def progress(have: int, total: int | None) -> None:
            bar.total = total
            bar.update(have - bar.n)

        yield progress
