"""``peephole unknowns`` and ``peephole name``: the faces that nobody has a name for, and giving them one."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import (
    chosen_gallery,
    gallery_option,
    in_process_option,
    json_option,
    open_looking,
    save_picture,
    stored_by_option,
)
from .errors import PhotoRefused, UsageError
from .words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from .frame import Pixels
    from .gallery import Gallery, Group, Unknown
    from .match import People, Rule
    from .pipeline import Identified

MOST_GROUPS, MOST_FACES = 40, 8
"""Of a contact sheet."""


class GroupName(click.ParamType[int]):
    """A group of unknown faces, as ``group-3`` or ``3``."""

    name = "group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: D102
        found = re.fullmatch(r"(?:group-)?([0-9]{1,18})", str(value))
        if found is None:
            self.fail(f"{value!r} is no group; `peephole unknowns` lists them, as group-1", param, ctx)
        return int(found[1])


@click.group(invoke_without_command=True)
@gallery_option
@click.option("--ignored", is_flag=True, help="The groups that are ignored instead.")
@click.option(
    "--sheet",
    type=click.Path(dir_okay=False),
    metavar="FILE.png",
    help="Also draw a contact sheet: a row a group, the clearest faces first.",
)
@json_option
@in_process_option
@click.pass_context
def unknowns(
    ctx: click.Context, gallery: str | None, ignored: bool, sheet: str | None, as_json: bool, in_process: bool
) -> None:
    """List the faces that nobody has a name for, in groups of those that look alike."""
    from .gallery import Gallery

    if ctx.invoked_subcommand:
        if ignored or sheet or as_json:
            raise UsageError(f"--ignored, --sheet and --json are for the list, not for {ctx.invoked_subcommand}")
        return
    with Gallery.open(gallery, create=False) as opened:
        groups = opened.groups(ignored=ignored)
        nobody = "no group is ignored" if ignored else "no unknown faces"
        for line in [json.dumps(_plain(group)) for group in groups] if as_json else _table(groups) or [nobody]:
            click.echo(line)
        if sheet:
            looking, _ = open_looking({"in_process": in_process}, embed=False, keep=False)
            with looking:
                save_picture(contact_sheet(opened, groups, looking.portrait), Path(sheet), "contact sheet")


@unknowns.command()
@click.argument("group", type=GroupName())
@click.option("--yes", is_flag=True, help="Don't ask.")
@gallery_option
def forget(group: int, yes: bool, gallery: str | None) -> None:
    """Delete a group's faces for real; who looks like them will be kept again as somebody new."""
    from .gallery import Gallery

    with Gallery.open(chosen_gallery(gallery), create=False) as opened:
        what = f"group-{group} and its {counted(len(opened.unknowns(group)), 'face')}"
        if not yes:
            click.confirm(f"Delete {what}, for good?", abort=True, err=True)
        opened.forget_group(group)
    click.echo(f"{what}: deleted")


@click.command("name")
@click.argument("group", type=GroupName())
@click.argument("name", metavar="NAME")
@click.option("--force", is_flag=True, help="Even if the group looks like somebody else who is enrolled.")
@stored_by_option
@in_process_option
@gallery_option
def name_group(group: int, name: str, force: bool, recognizer: str, in_process: bool, gallery: str | None) -> None:
    """Enrol a GROUP of unknown faces as NAME, somebody new or known.

    The best photos are taken; blurred ones, those nearly the same as another, and any that got into the group by
    mistake are deleted.
    """
    from .gallery import Gallery, checked_name
    from .people import Known
    from .remember import choose
    from .report import escaped

    name = checked_name(name)
    with Gallery.open(gallery, create=False) as opened:
        faces = opened.unknowns(group)
        options = {"recognizer": recognizer, "in_process": in_process}
        looking = click.get_current_context().with_resource(open_looking(options, embed=True, keep=False)[0])
        model = looking.recognizer
        known, rule = Known().read(opened, model)
        vectors = _vectors(opened, faces, model)
        chosen = choose(vectors, [face.quality for face in faces], rule.similarity, model.rule.threshold)
        if not chosen.photos:
            reasons = "; ".join(sorted({why for _, why in chosen.left_out}))
            raise PhotoRefused(f"no face of group-{group} is good enough to enrol: {reasons}")
        objections = _judged(name, [faces[index] for index in chosen.photos], vectors[[*chosen.photos]], known, rule)
        if objections and not force:
            raise PhotoRefused(
                f"group-{group} is not enrolled as {name}: {objections[0]}; --force enrols it all the same"
            )
        new = name not in {person.name for person in opened.people()}
        photos = [faces[index] for index in chosen.photos]
        twins = looking.vectors(photos)  # until now nobody was compared with them
        opened.name_group(group, name, [each.id for each in photos])
        opened.put_embeddings(model.model_id, zip([each.id for each in photos], twins, strict=True))
        click.echo(
            f"{escaped(name)}: {'new, ' * new}{counted(len(chosen.photos), 'photo')} enrolled from the "
            f"{counted(len(faces), 'face')} of group-{group}"
        )
        for index, why in chosen.left_out:
            click.echo(f"left out: {escaped(faces[index].source)}, {_when(faces[index].time)}: {why}")
        for line in _alike(opened, name, model, rule):
            click.echo(line)


def contact_sheet(gallery: Gallery, groups: list[Group], portrait: Callable[[Unknown], Pixels]) -> Image.Image:
    """A row a group, its clearest faces first, each as the portrait that is made of it."""
    from . import sheets
    from .remember import worth

    rows: list[sheets.Row] = []
    for group in groups[:MOST_GROUPS]:
        best = sorted(gallery.unknowns(group.id), key=lambda face: -worth(face.quality))
        tiles = [(portrait(face), f"{_when(face.time)[5:]} {face.camera}") for face in best[:MOST_FACES]]
        title = f"{group.name}: {counted(group.faces, 'face')}, {_span(group)}"
        rows.append((f"{title}, {_cameras(group)}", tiles))
    rows += [(group.name, ()) for group in groups[MOST_GROUPS:]]
    return sheets.contact_sheet(rows, columns=MOST_FACES, most_rows=MOST_GROUPS)


def _vectors(gallery: Gallery, faces: list[Unknown], model: Identified) -> Any:
    """The faces' vectors, (n, d), in their order."""
    stored = gallery.unknown_vectors(model.model_id)
    rows = {int(face): row for row, face in enumerate(stored.faces)}
    return stored.embeddings[[rows[face.id] for face in faces]]


def _judged(name: str, faces: list[Unknown], vectors: Any, known: People, rule: Rule) -> list[str]:
    """What speaks against giving these faces this name."""
    from .enrolment import judge

    found: list[str] = []
    for face, vector in zip(faces, vectors, strict=True):
        if len(known) and face.quality is not None:
            found += judge(name, vector, face.quality, known, rule)[0]
    return found


def _alike(gallery: Gallery, name: str, model: Identified, rule: Rule) -> list[str]:
    """Which other groups are now this person, by most of their faces."""
    import numpy as np

    from .match import match

    stored = gallery.unknown_vectors(model.model_id)
    if not len(stored):
        return []
    people = gallery.known(model.model_id)
    qualities = {face.id: face.quality for group in gallery.groups() for face in gallery.unknowns(group.id)}
    seen = [qualities.get(int(face)) for face in stored.faces]
    grey = np.array([quality is not None and quality.grey for quality in seen], bool)
    found = match(stored.embeddings, people, rule, grey=grey)
    hers = [each.decided == "named" and each.name == name for each in found]
    lines = []
    for group in gallery.groups():
        inside = [yes for yes, owner in zip(hers, stored.groups.tolist(), strict=True) if owner == group.id]
        if 2 * sum(inside) > len(inside):
            lines.append(f"{group.name} looks like {name}, too: peephole name {group.name} {shlex.quote(name)}")
    return lines


def _table(groups: list[Group]) -> list[str]:
    from .report import Table

    if not groups:
        return []
    table = Table([("group", -10), ("faces", 5), ("first", -16), ("last", -16), ("cameras", -20)])
    rows = [(group.name, str(group.faces), _when(group.first), _when(group.last), _cameras(group)) for group in groups]
    return [table.header(), *(table.row(row) for row in rows)]


def _plain(group: Group) -> dict[str, Any]:
    return {
        "group": group.name,
        "faces": group.faces,
        "first": group.first,
        "last": group.last,
        "cameras": list(group.cameras),
        "ignored": group.ignored,
    }


def _cameras(group: Group) -> str:
    return ", ".join(each or "-" for each in group.cameras)


def _when(seconds: float) -> str:
    """A time of the user's own clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _span(group: Group) -> str:
    first, last = _when(group.first), _when(group.last)
    return first if first == last else f"{first} to {last}"
