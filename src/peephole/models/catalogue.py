"""Every model that Peephole knows: what it is for, whose it is, what one may do with it, and whether it is here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ModelError, UsageError
from . import store

Kind = Literal["detector", "recognizer", "landmarks"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model.

    Attributes:
        asset: its file.
        kind: what it does.
        title: what its authors call it.
        optional: nothing needs it; it is here only after it was fetched.
    """

    asset: store.Asset
    kind: Kind
    title: str
    optional: bool = False

    @property
    def name(self) -> str:
        """Peephole's name for it."""
        return self.asset.name

    def to_dict(self) -> dict[str, Any]:
        """As ``peephole models list --json`` prints it."""
        asset = self.asset
        return {
            "name": asset.name,
            "kind": self.kind,
            "title": self.title,
            "package": asset.package or None,
            "origin": asset.origin,
            "licence": asset.licence,
            "commercial": asset.commercial,
            "bytes": asset.size,
            "sha256": asset.sha256,
        }


CATALOGUE = (
    Entry(store.YUNET, "detector", "YuNet 2023mar, 8-bit blocks"),
    Entry(store.MMOD, "detector", "dlib MMOD CNN"),
    Entry(store.SFACE, "recognizer", "SFace 2021dec, 8-bit blocks"),
    Entry(store.RESNET, "recognizer", "dlib ResNet v1"),
    Entry(store.LANDMARKS, "landmarks", "dlib 5-point shape predictor"),
    Entry(store.YUNET_FLOAT, "detector", "YuNet 2023mar, float32", optional=True),
    Entry(store.SFACE_FLOAT, "recognizer", "SFace 2021dec, float32", optional=True),
)


def find(name: str) -> Entry:
    """The model of a name.

    Raises:
        UsageError: there is none.
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    raise UsageError(f"there is no model {name!r}; there are {', '.join(entry.name for entry in CATALOGUE)}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a model's check.

    Attributes:
        entry: the model.
        path: its file, the hash checked, or None where it cannot be used.
        reason: why not.
    """

    entry: Entry
    path: Path | None
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong: it is as published, or optional and never fetched."""
        return self.path is not None or (self.entry.optional and store.find(self.entry.asset) is None)


def verify(entry: Entry) -> Verdict:
    """Look for a model's file and hash it."""
    try:
        return Verdict(entry, store.locate(entry.asset))
    except ModelError as error:
        return Verdict(entry, None, str(error))
