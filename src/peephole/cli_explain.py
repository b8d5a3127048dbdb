"""``peephole calibrate`` and ``peephole why``: where the threshold lies and why a face got its name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli_options import (
    gallery_option,
    json_option,
    look_options,
    open_looking,
    people_option,
    recognizer_option,
    save_picture,
    stored_by_option,
    threshold_option,
    worker_options,
)
from .errors import FrameError, GalleryError, UsageError

if TYPE_CHECKING:
    from .calibrate import Calibration
    from .gallery import Gallery
    from .match import People, Rule
    from .pipeline import Identified
    from .recognizers import Recognizer

SOME_FAILED = 1
MOST_DOUBTFUL = 5
"""Groups that are named because they may be somebody who is enrolled."""


@click.command()
@stored_by_option
@gallery_option
@click.option(
    "--draw", type=click.Path(dir_okay=False), metavar="FILE.png", help="Also draw both distributions of scores."
)
@click.option("--dry-run", is_flag=True, help="Change nothing.")
@click.option("--reset", is_flag=True, help="Go back to the recognizer's own threshold.")
def calibrate(recognizer: str, gallery: str | None, draw: str | None, dry_run: bool, reset: bool) -> None:
    """Fit the threshold to the people in the gallery and the strangers who came by.

    Name or forget the unknown faces that are of the family first: each counts as a stranger.
    """
    from .gallery import Gallery
    from .recognizers import open_recognizer

    if reset and (draw or dry_run):
        raise UsageError("--reset goes without --draw and --dry-run")
    with Gallery.open(gallery, create=False) as opened:
        model = open_recognizer(recognizer)
        if reset:
            opened.reset_rule(model.model_id)
            click.echo(f"threshold          {model.rule.threshold:.3f}, {model.name}'s own, holds again")
            return
        people = opened.known(model.model_id)
        found, doubtful = _fitted(opened, people, model)
        in_use = opened.rule(model.model_id)
        until_now = None if in_use is None else in_use.limit(people.known)
        for line in [*found.lines(until_now), *doubtful]:
            click.echo(line)
        if draw:
            from .calibrate import draw as drawn

            save_picture(drawn(found), Path(draw), "drawn")
        if dry_run:
            click.echo("nothing is changed: this was a dry run")
        else:
            opened.set_rule(model.model_id, found.rule)
            click.echo("in use from now on; peephole calibrate --reset undoes it")


@click.command()
@click.argument("frame")
@look_options
@recognizer_option
@gallery_option
@people_option
@threshold_option
@worker_options
@json_option
def why(
    frame: str, gallery: str | None, people: str | None, threshold: float | None, as_json: bool, **options: Any
) -> None:
    """Explain one FRAME: what could be found on it, what each face shows, and which rule gave it its name."""
    if people is not None and gallery is not None:
        raise UsageError("--people and --gallery are two ways to say who is known: give one of them")
    looking, how = open_looking(options, embed=True, keep=False)
    with looking:
        from .why import explain

        if people is not None:
            from .people import load_people

            known = load_people(people, looking, scale=how["scale"], min_confidence=how["min_confidence"])
            rule = looking.recognizer.rule
        else:
            known, rule = _known(gallery, looking.recognizer)
        try:
            analysis = looking.analyse(frame, people=known, rule=rule, threshold=threshold, **how)
        except FrameError as error:
            if as_json:
                click.echo(json.dumps({"image": frame, "error": {"kind": error.kind, "message": str(error)}}))
            else:
                click.echo(f"peephole: {frame} could not be looked at: {error}", err=True)
            sys.exit(SOME_FAILED)
    explained = explain(analysis, known, rule if threshold is None else rule.fixed(threshold))
    if as_json:
        click.echo(json.dumps(explained.to_dict()))
        return
    for line in explained.lines():
        click.echo(line)


def _known(gallery: str | None, recognizer: Identified) -> tuple[People, Rule]:
    """Who is in the gallery, and the rule that gives names."""
    from .gallery import Gallery
    from .people import Known

    with Gallery.open(gallery, create=False) as opened:
        return Known().read(opened, recognizer)


def _fitted(gallery: Gallery, people: People, model: Recognizer) -> tuple[Calibration, list[str]]:
    """The calibration, and a line for each group of strangers who may be none."""
    import numpy as np

    from .calibrate import calibrate as fit

    if not people.known:
        raise GalleryError(f"there is nobody in {gallery.path} to calibrate for: peephole enroll NAME FILE")
    stored = gallery.unknown_vectors(model.model_id)
    offered = np.isin(stored.groups, [group.id for group in gallery.groups()])
    vectors, groups = stored.embeddings[offered], stored.groups[offered]
    found = fit(people, vectors, model.rule, groups=groups)
    best: dict[int, tuple[float, str]] = {}
    if len(vectors):
        scores = people.scores(vectors, model.similarity)
        scores[:, [name in people.ignored for name in people.persons]] = -np.inf
        for group, row in zip(groups.tolist(), scores, strict=True):
            nearest = int(row.argmax())
            best[group] = max(best.get(group, (-np.inf, "")), (float(row[nearest]), people.persons[nearest]))
    doubtful = sorted(((score, name, group) for group, (score, name) in best.items()), reverse=True)
    return found, [
        f"group-{group} looks like {name}, {score:.3f}, and counts as a stranger: if it is {name}, say "
        f"`peephole name group-{group} {name}` and calibrate again"
        for score, name, group in doubtful[:MOST_DOUBTFUL]
        if score >= found.before
    ]
