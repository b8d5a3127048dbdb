import pytest
from PIL import Image

from peephole.frame import Frame


@pytest.fixture(scope="module")
def head(eileen: Frame) -> Image.Image:
    """260x260, the face 96 pixels wide."""
    return Image.fromarray(eileen.pixels[:260, 80:340])
