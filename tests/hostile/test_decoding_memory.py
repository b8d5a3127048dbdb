"""What decoding takes is what the plan counts, whatever kind of picture it is."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from peephole.planner import ALLOCATOR, DECODE_BYTES_PER_PIXEL, OVERHEAD

SIDE = 1800
EXIF = Image.Exif()
EXIF[0x0112] = 6

PROGRAM = """
import io, json, sys
from pathlib import Path
from PIL import Image
from peephole.frame import snapshot
from peephole.memory import current_rss, peak_rss, reset_peak, return_what_is_freed
return_what_is_freed()
with io.BytesIO() as file:
    Image.new("RGB", (64, 48)).save(file, "TIFF")
    snapshot(file.getvalue()).decode()
Image.init()
for path in map(Path, sys.argv[1:]):
    seen = None  # the last one's bytes would leave room for this one's pixels
    data = path.read_bytes()
    reset_peak()
    before = current_rss()
    seen = snapshot(data)
    size = seen.decode().size
    print(json.dumps([path.name, size, len(data), seen.decoder_bytes, peak_rss() - before]))
"""


def picture():
    """Neither flat nor noise, so that it is a file of a usual size."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.stack([x // 7, y // 5, (x + y) // 3], -1).astype(np.uint8)


def kinds():
    pixels = picture()
    image = Image.fromarray(pixels)
    deep = pixels[..., 0].astype(np.uint16) << 8

    def encoded(image, kind, **options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def tiff(array, **options):
        file = io.BytesIO()
        tifffile.imwrite(file, array, **options)
        return file.getvalue()

    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg, turned": encoded(image, "JPEG", exif=EXIF),
        "jpeg, progressive": encoded(image, "JPEG", progressive=True, subsampling=0),
        "jpeg, cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "png, alpha": encoded(image.convert("RGBA"), "PNG", compress_level=1),
        "png, grey and alpha": encoded(image.convert("LA"), "PNG", compress_level=1),
        "png, 16 bits": encoded(Image.fromarray(deep), "PNG", compress_level=1),
        "png, palette": encoded(image.convert("P"), "PNG", compress_level=1),
        "webp": encoded(image, "WEBP", method=0, quality=50),
        "webp, alpha": encoded(image.convert("RGBA"), "WEBP", method=0, quality=50),
        "bmp": encoded(image, "BMP"),
        "tiff, one strip": tiff(pixels, photometric="rgb", compression="zlib", rowsperstrip=SIDE),
        "tiff, one tile of 16 bits": tiff(deep, compression="zlib", tile=(4096, 4096)),
        "tiff, turned": encoded(image, "TIFF", compression="tiff_lzw", exif=EXIF),
    }


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, data in kinds().items():
        (folder / name).write_bytes(data)
    command = [sys.executable, "-c", PROGRAM, *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak cannot be told elsewhere")
def test_decoding_takes_no_more_than_the_plan_counts(measured):
    assert len(measured) == 14
    for name, (size, encoded, decoder, growth) in measured.items():
        assert size == [SIDE, SIDE]
        planned = OVERHEAD + encoded + decoder + DECODE_BYTES_PER_PIXEL * SIDE * SIDE
        # Copying the file is the measurement's; the last frame's pixels may still be there.
        assert growth < planned * ALLOCATOR, (name, growth / SIDE**2, planned / SIDE**2)
        assert growth > 2 * SIDE * SIDE, f"{name}: nothing was measured"
