"""``peephole enroll``, ``people``, ``gallery`` and ``not``: who is known, and the file that holds it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import (
    chosen_gallery,
    gallery_option,
    in_process_option,
    json_option,
    look_options,
    open_looking,
    recognizer_option,
    save_picture,
    stored_by_option,
    worker_options,
)
from .errors import FrameError, GalleryError, PhotoRefused, UsageError, WorkerError
from .words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .faces import Faces
    from .gallery import Gallery, StoredFace, StoredPhoto
    from .looking import Looking
    from .pipeline import How, Identified
    from .recognizers import Embeddings
    from .standing import Standing

SOME_FAILED = 1
SHORT = 12
"""Digits of a hash in a table."""
DAY = 86_400.0
GROUP = re.compile("group-([0-9]{1,18})")
"""What a group of unknown faces is called."""


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("photos", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--force", is_flag=True, help="Also a face that is unclear, or whose it is is in doubt.")
@gallery_option
@look_options
@recognizer_option
@worker_options
def enroll(name: str, photos: tuple[str, ...], force: bool, gallery: str | None, **options: Any) -> None:
    """Enrol photos of a person, a verdict each; exit status 1 where one was refused.

    A photo must show one clear face that is nobody else's and is like the person's other photos, those given with it
    too. The person is made with the first one.
    """
    looking, how = open_looking(options, embed=True, keep=True)  # first: a worker loads while all else does
    with looking:
        from .gallery import Gallery, checked_name

        name = checked_name(name)
        with Gallery.open(gallery) as opened:
            refused = _enrolled(looking, how, opened, name, photos, force=force)
            count = next((each.photos for each in opened.people() if each.name == name), 0)
            same = _same(opened, name, looking.recognizer)
        click.echo(f"{name}: {counted(count, 'photo')} in all")
        for line in same:
            click.echo(line)
    sys.exit(SOME_FAILED if refused else 0)


def _enrolled(looking: Looking, how: How, gallery: Gallery, name: str, photos: tuple[str, ...], *, force: bool) -> int:
    """Enrol the photos and print a verdict each; how many were refused."""
    from .enrolment import Enrolment, enroll_all
    from .files import PassedOver, listed
    from .gallery import checked_name
    from .report import escaped

    checked_name(name)  # before anything takes time
    passed = PassedOver()
    files = list(chain.from_iterable(listed(each, passed=passed) for each in photos))
    sound = [file for file, error in files if error is None]
    refused = 0
    with _bar("photo") as tell:
        done = enroll_all(looking, gallery, name, sound, force=force, progress=tell, **how)
        for file, error in files:
            found = error or next(done)
            if isinstance(found, Enrolment):
                way = "clockwise" if found.turned > 0 else "anticlockwise"
                verdict = "enrolled again" if found.again else "enrolled"
                verdict += f", turned by {abs(found.turned)} degrees {way}" if found.turned else ""
                verdict += f" but weak: {'; '.join(found.weak)}" if found.weak else ""
            else:
                refused += 1
                verdict = f"refused: {found}"
            click.echo(f"{escaped(file)}: {verdict}")
    if passed:
        click.echo(f"peephole: {escaped(str(passed))}", err=True)
    return refused


def _same(gallery: Gallery, name: str, recognizer: Identified) -> list[str]:
    """Who else is this person, to all appearance, a line each."""
    from .outliers import same_person
    from .people import Known

    found = same_person(name, *Known().read(gallery, recognizer))
    return [f"{other} is the same person, to all appearance: {_merging(other, name)}" for other, _ in found]


def _merging(source: str, into: str) -> str:
    """The command that makes two people one; an ignored group of unknown faces comes back by being ignored no more."""
    if GROUP.fullmatch(source):
        return f"peephole people ignore {source} --undo"
    return f"peephole people merge {shlex.quote(source)} {shlex.quote(into)}"


@click.command("not")
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE")
@click.option("--face", type=click.IntRange(1), metavar="N", help="Which face, as label lists them, the first being 1.")
@click.option("--undo", is_flag=True, help="Take back what was said of this picture.")
@gallery_option
@look_options
@recognizer_option
@worker_options
def not_this_person(name: str, file: str, face: int | None, undo: bool, gallery: str | None, **options: Any) -> None:
    """Say that a face on FILE is not NAME's: neither it nor one as much like it gets that name again.

    Without --face it is the face that gets the name now, or the only one.
    """
    import numpy as np

    from .frame import load
    from .gallery import Gallery
    from .match import match
    from .people import Known
    from .report import escaped

    with Gallery.open(gallery, create=False) as opened:
        opened.rejections(name)  # that there is such a person, before anything takes time
        if undo:
            with _named(file):
                sha256 = hashlib.sha256(load(file)).hexdigest()
            click.echo(f"{escaped(file)}: {counted(_take_back(opened, name, sha256), 'correction')} taken back")
            return
        looking, how = open_looking(options, embed=True, keep=True)
        with looking:
            known = Known()
            people, rule = known.read(opened, looking.recognizer)
            with _named(file):
                analysis = looking.analyse(file, **how, twins=True)
            faces = analysis.faces
            if faces.embeddings is None or faces.twins is None:
                raise ValueError("faces without embeddings cannot be compared")
            before = match(faces.embeddings, people, rule, grey=faces.grey)
            index = _which(name, faces, [each.name for each in before], face)
            with _named(file):
                photo = looking.photo(file, analysis, faces[index])
            vectors = np.stack([faces.embeddings[index], faces.twins[index]])
            opened.reject(name, photo, {looking.recognizer.model_id: vectors})
            only = slice(index, index + 1)
            again = known.read(opened, looking.recognizer)
            (after,) = match(faces.embeddings[only], *again, grey=faces.grey[only])
        click.echo(f"{escaped(file)}: face {index + 1} is not {name}: was {before[index].name}, is {after.name} now")


def _take_back(gallery: Gallery, name: str, sha256: str) -> int:
    """Forget the corrections about a picture."""
    said = [each.id for each in gallery.rejections(name) if each.sha256 == sha256]
    for number in said:
        gallery.forget_rejection(number)
    return len(said)


def _which(name: str, faces: Faces, names: list[str], chosen: int | None) -> int:
    """The face that somebody means.

    Raises:
        PhotoRefused: there is no face, or no such face.
        UsageError: it could be several.
    """
    from .enrolment import places

    if not len(faces):
        raise PhotoRefused("no face found")
    if chosen is not None:
        if chosen > len(faces):
            raise PhotoRefused(f"there is no face {chosen}, but {places(faces)}")
        return chosen - 1
    taken = [index for index, each in enumerate(names) if each == name] or list(range(len(faces)))
    if len(taken) > 1:
        raise UsageError(f"which face is not {name}? Say --face with one of {places(faces, taken)}")
    return taken[0]


@click.group(invoke_without_command=True)
@gallery_option
@json_option
@click.pass_context
def people(ctx: click.Context, gallery: str | None, as_json: bool) -> None:
    """List who is known; or rename, merge, forget, ignore, report."""
    from .gallery import Gallery
    from .report import Table, escaped

    if ctx.invoked_subcommand:
        if as_json:
            raise UsageError(f"--json is for the list, not for {ctx.invoked_subcommand}")
        return
    with Gallery.open(gallery, create=False) as opened:
        persons, groups = opened.people(), opened.groups(ignored=True)
    if as_json:
        for person in persons:
            click.echo(json.dumps({"name": person.name, **asdict(person)}))
        return
    names = [person.name for person in persons] + [group.name for group in groups]
    table = Table([("name", -max([16, *map(len, names)])), ("photos", 6), ("since", -10), ("", -7)])
    click.echo(table.header())
    for person in persons:
        since = time.strftime("%Y-%m-%d", time.localtime(person.created))
        click.echo(table.row([escaped(person.name), str(person.photos), since, "ignored" if person.ignored else ""]))
    for group in groups:
        since = time.strftime("%Y-%m-%d", time.localtime(group.first))
        click.echo(table.row([group.name, str(group.faces), since, "ignored"]))


@contextmanager
def _opened(own: str | None) -> Iterator[Gallery]:
    """The gallery that the command names, or the group that it belongs to."""
    from .gallery import Gallery

    with Gallery.open(chosen_gallery(own), create=False) as opened:
        yield opened


@people.command()
@click.argument("old")
@click.argument("new")
@gallery_option
def rename(old: str, new: str, gallery: str | None) -> None:
    """Call OLD by another name, NEW."""
    with _opened(gallery) as opened:
        opened.rename(old, new)
    click.echo(f"{old} is called {new} now")


@people.command()
@click.argument("source", metavar="FROM")
@click.argument("into")
@gallery_option
def merge(source: str, into: str, gallery: str | None) -> None:
    """Make FROM and INTO one person, called INTO."""
    with _opened(gallery) as opened:
        opened.merge(source, into)
        click.echo(f"{into}: {counted(len(opened.photos(into)), 'photo')} in all")


@people.command()
@click.argument("name")
@click.option("--photo", type=int, metavar="N", help="Only this photo, by the number that the report gives it.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@gallery_option
def forget(name: str, photo: int | None, yes: bool, gallery: str | None) -> None:
    """Delete a person for real: photos, vectors, corrections, and the name wherever it stands."""
    with _opened(gallery) as opened:
        photos = opened.photos(name)
        if photo is not None and photo not in {each.id for each in photos}:
            raise GalleryError(f"{name} has no photo {photo}; peephole people report {name} lists them")
        what = f"photo {photo} of {name}" if photo is not None else f"{name} and {counted(len(photos), 'photo')}"
        if not yes:
            click.confirm(f"Delete {what}, for good?", abort=True, err=True)
        if photo is None:
            opened.forget(name)
        else:
            opened.forget_photo(photo)
    click.echo(f"{what}: deleted")


@people.command()
@click.argument("name", metavar="NAME|GROUP")
@click.option("--undo", is_flag=True, help="Name and announce them again.")
@gallery_option
def ignore(name: str, undo: bool, gallery: str | None) -> None:
    """Never name, announce or offer a person, or a group of unknown faces as group-12."""
    group = GROUP.fullmatch(name)
    with _opened(gallery) as opened:
        if group:
            opened.ignore_group(int(group[1]), not undo)
        else:
            opened.ignore(name, not undo)
    click.echo(f"{name}: {'no longer ignored' if undo else 'ignored'}")


@people.command()
@click.argument("name")
@click.option("--sheet", type=click.Path(dir_okay=False), metavar="FILE.png", help="Also draw a contact sheet.")
@json_option
@stored_by_option
@in_process_option
@gallery_option
def report(name: str, sheet: str | None, as_json: bool, gallery: str | None, **options: Any) -> None:
    """Say how well a person is known by their photos, and which one more would help most."""
    looking, _ = open_looking(options, embed=True, keep=False)
    with looking, _opened(gallery) as opened:
        photos = opened.photos(name)
        found = _standing(opened, name, photos, looking.recognizer)
        if as_json:
            click.echo(json.dumps(asdict(found)))
        else:
            for line in [*found.lines(), *_remedies(found, photos), *map(_described, photos)]:
                click.echo(line)
        if sheet:
            _draw(photos, found, looking, Path(sheet))


def _standing(gallery: Gallery, name: str, photos: Sequence[StoredPhoto], recognizer: Identified) -> Standing:
    """The report on a person.

    Raises:
        GalleryError: the person has no photo, or others than these by now.
    """
    from dataclasses import replace

    from .people import Known
    from .standing import Shot, standing

    if not photos:
        raise GalleryError(f"{name} has no photo to report on: peephole enroll {name} FILE")
    known, rule = Known().read(gallery, recognizer)
    own = [index for index, each in enumerate(known.names) if each == name]
    others = [index for index, each in enumerate(known.names) if each != name]
    if len(own) != len(photos):
        raise GalleryError(f"{name}'s photos have just been changed by another process; try again")
    twins = known.at_night().embeddings
    shots = [
        Shot(_label(photo.id, photo.source), known.embeddings[index], photo.quality, twins[index])
        for photo, index in zip(photos, own, strict=True)
    ]
    names = tuple(known.names[index] for index in others)
    rest = replace(known, names=names, embeddings=known.embeddings[others], twins=twins[others])
    return standing(name, shots, rest, rule)


def _remedies(found: Standing, photos: Sequence[StoredPhoto]) -> list[str]:
    """What to do about outliers, and about one person under two names."""
    numbers = {_label(photo.id, photo.source): photo.id for photo in photos}
    name = shlex.quote(found.name)
    return [
        *(
            f"if photo {numbers[label]} is not {found.name}: peephole people forget {name} --photo {numbers[label]}"
            for label, _ in found.outliers
        ),
        *(f"if {other} is {found.name}: {_merging(other, found.name)}" for other, _ in found.same),
    ]


def _described(photo: StoredPhoto) -> str:
    shows = ""
    if photo.quality is not None:
        light = "grey" if photo.quality.grey else "in colour"
        shows = f": {photo.quality.size:.0f} px, sharpness {photo.quality.sharpness:.2f}, {light}"
    return f"{_label(photo.id, photo.source)}{shows}"


def _label(number: int, source: str) -> str:
    from .report import escaped

    return f"photo {number} ({escaped(Path(source).name)})"


def _draw(photos: Sequence[StoredPhoto], found: Standing, looking: Looking, file: Path) -> None:
    """A contact sheet: the photos that are good, weak, unlike the others, taken for somebody else, and doubled."""
    from .sheets import contact_sheet

    pictures = {_label(each.id, each.source): looking.portrait(each) for each in photos}
    weak = dict(found.weak)
    apart = dict(found.outliers)
    lost = {check.photo for check in found.checks if not check.right} - apart.keys()
    double = {pair.other: pair.one for pair in found.duplicates}
    rows: list[tuple[str, list[tuple[Any, str]]]] = []
    for title, chosen in (
        (f"{found.name}: good", [each for each in pictures if each not in {*weak, *apart, *lost, *double}]),
        ("weak", list(weak)),
        ("unlike the others", list(apart)),
        ("not known by the other photos", [each for each in pictures if each in lost]),
        ("nearly the same as another", [each for each in pictures if each in double]),
    ):
        if chosen:
            rows.append((title, [(pictures[each], each) for each in chosen]))
    save_picture(contact_sheet(rows), file, "contact sheet")


@click.group("gallery")
@gallery_option
def the_gallery(gallery: str | None) -> None:
    """Look after the file that holds who is known."""


@the_gallery.command()
@gallery_option
def path(gallery: str | None) -> None:
    """Print where it is, or would be."""
    from .gallery import gallery_path

    click.echo(chosen_gallery(gallery) or gallery_path())


@the_gallery.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@gallery_option
def status(as_json: bool, gallery: str | None) -> None:
    """Show what is in it, by which models it was seen, and whether the file is sound."""
    with _opened(gallery) as opened:
        opened.check()
        persons, groups, ignored = opened.people(), opened.groups(), opened.groups(ignored=True)
        photos = sum(person.photos for person in persons)
        unknown, kept_out = sum(group.faces for group in groups), sum(group.faces for group in ignored)
        (visits, _), corrections, seen = opened.visit_count(), len(opened.rejections()), opened.models()
        faces = photos + unknown + kept_out + corrections
        models: list[dict[str, Any]] = [
            {"name": name, "model": model, "faces": seen[model], "missing": opened.missing_count(model)}
            for model, name in _model_names(seen).items()
        ]
        rules = {model: opened.rule(model) is not None for model in seen}
        size = opened.path.stat().st_size
    if as_json:
        counts = {"photos": photos, "unknown": unknown, "groups": len(groups), "ignored_groups": len(ignored)}
        out: dict[str, Any] = {"path": str(opened.path), "bytes": size, "people": len(persons)} | counts
        out |= {"corrections": corrections, "visits": visits}
        out["models"] = [each | {"calibrated": rules[str(each["model"])]} for each in models]
        click.echo(json.dumps(out))
        return
    click.echo(f"gallery      {opened.path}, {size / 1e6:.1f} MB, sound")
    click.echo(f"people       {len(persons)}, {counted(photos, 'photo')}")
    click.echo(f"unknown      {counted(unknown, 'face')} in {counted(len(groups), 'group')}, {len(ignored)} ignored")
    click.echo(f"corrections  {corrections}")
    click.echo(f"visits       {visits}")
    for each in models:
        rule = "calibrated" if rules[str(each["model"])] else "the model's own rule"
        name = f"{each['name']} {str(each['model'])[:SHORT]}".strip()
        click.echo(f"model        {name}: {each['faces']} of {faces} faces, {rule}")
        if each["missing"] and each["name"]:
            lacking = f"{counted(each['missing'], 'face')} without a vector, or without one for the night"
            click.echo(f"             {lacking}: peephole gallery reembed --recognizer {each['name']}")


def _model_names(seen: dict[str, int]) -> dict[str, str]:
    """What the models are called; one of the user's own has no name here."""
    from .models.catalogue import CATALOGUE

    names = {entry.asset.sha256: entry.name for entry in CATALOGUE}
    return {model: names.get(model, "") for model in seen}


@the_gallery.command()
@stored_by_option
@click.option("--threads", type=click.IntRange(1), help="Compute threads; by default one a usable processor.")
@click.option("--prune", is_flag=True, help="Then delete, for real, the vectors and rules of all other models.")
@in_process_option
@gallery_option
def reembed(prune: bool, gallery: str | None, **options: Any) -> None:
    """Compute what a recognizer lacks of the faces' vectors, from the stored crops.

    A run that was ended is gone on with by the next one.
    """
    looking, _ = open_looking(options, embed=True, keep=False)
    with looking, _opened(gallery) as opened:
        from .gallery import reembed as embed_anew

        done, model = 0, looking.recognizer
        with _bar("face") as tell:
            for done, total in embed_anew(opened, model.model_id, lambda faces: _vectors(looking, faces)):
                tell(done, total)
        click.echo(f"{counted(done, 'face')} embedded by {model.name}")
        if prune:
            others = [each for each in opened.models() if each != model.model_id]
            count = sum(opened.prune(each) for each in others)
            click.echo(f"{counted(count, 'vector')} of {counted(len(others), 'other model')} deleted")


def _vectors(looking: Looking, faces: Sequence[StoredFace]) -> Embeddings:
    """Stored faces' vectors; where the worker does not survive them, one after another, to say which one it is."""
    import numpy as np

    try:
        return looking.vectors(faces)
    except WorkerError as error:
        if len(faces) == 1:
            raise GalleryError(f"the crop of {_label(faces[0].id, faces[0].source)}: {error}") from error
    return np.concatenate([_vectors(looking, [face]) for face in faces])


@the_gallery.command()
@click.argument("file", type=click.Path(dir_okay=False))
@gallery_option
def export(file: str, gallery: str | None) -> None:
    """Write all that is in it into FILE, checked, in one step."""
    with _opened(gallery) as opened:
        opened.export(file)
    click.echo(f"{file}: {Path(file).stat().st_size / 1e6:.1f} MB")


@the_gallery.command("import")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--replace", is_flag=True, help="In place of what the gallery holds.")
@gallery_option
def import_(file: str, replace: bool, gallery: str | None) -> None:
    """Fill the gallery with what export wrote into FILE; a damaged one changes nothing."""
    from .gallery import Gallery

    target = chosen_gallery(gallery)
    Gallery.import_(file, target, replace=replace)
    with Gallery.open(target, create=False) as opened:
        persons = opened.people()
    photos = counted(sum(person.photos for person in persons), "photo")
    click.echo(f"{opened.path}: {counted(len(persons), 'person', 'people')}, {photos}")


@the_gallery.command()
@click.option(
    "--max-age", type=click.FloatRange(0), metavar="DAYS", default=30, show_default=True, help="Keep so long."
)
@click.option("--max-count", type=click.IntRange(0), metavar="N", help="Keep so many of each, the latest.")
@gallery_option
def expire(max_age: float, max_count: int | None, gallery: str | None) -> None:
    """Delete unknown faces and visits that are over, for real, by age and number. Ignored groups stay."""
    with _opened(gallery) as opened:
        gone = opened.expire(max_age * DAY, max_count)
    click.echo(f"{counted(gone.unknowns, 'unknown face')} and {counted(gone.visits, 'visit')} deleted")


@contextmanager
def _bar(unit: str) -> Iterator[Callable[[int, int], object]]:
    """Told how many are done and how many there are, where a person waits at a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from tqdm import tqdm

    with tqdm(unit=unit, file=sys.stderr, leave=False) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            if done == total:
                bar.close()  # before anything else is printed

        yield tell


@contextmanager
def _named(file: str) -> Iterator[None]:
    """Put the file's name before what is wrong with it."""
    from .report import escaped

    try:
        yield
    except FrameError as error:
        raise FrameError(f"{escaped(file)}: {error}") from error
