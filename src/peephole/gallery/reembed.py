"""Embeddings by another model, from the stored crops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .records import StoredFace
from .store import Gallery

BATCH = 16
"""Faces at a time: each batch is stored before the next begins, so that a killed run loses no more than one."""

Embed = Callable[[Sequence[StoredFace]], NDArray[np.floating[Any]]]
"""n stored faces → (n, 2, d): their vectors and their colourless twins."""


def reembed(gallery: Gallery, model: str, embed: Embed, *, batch: int = BATCH) -> Iterator[tuple[int, int]]:
    """Embed every face that lacks a vector of a model or its twin; begun again, it goes on where it ended.

    Embeddings by other models stay until `Gallery.prune`, so that going back to one costs nothing.

    Args:
        gallery: whose faces.
        model: SHA-256 of the recognizer's weights.
        embed: the recognizer's way from stored faces to vectors; what it raises ends the run.
        batch: faces at a time.

    Yields:
        How many are done and how many there are to do, at the start and after each batch. Faces that another process
        adds meanwhile are done as well.
    """
    done, left = 0, gallery.missing_count(model)
    yield done, left
    while left:
        faces = gallery.missing(model, limit=batch)
        vectors = embed(faces)
        if vectors.shape[:2] != (len(faces), 2):
            raise ValueError(f"vectors and their twins are needed, (n, 2, d), not {vectors.shape}")
        gallery.put_embeddings(model, zip((face.id for face in faces), vectors, strict=True))
        done, left = done + len(faces), gallery.missing_count(model)
        yield done, done + left
