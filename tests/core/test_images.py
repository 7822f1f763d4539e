import hashlib
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile

from core.images import (
    MAX_BYTES,
    MAX_PIXELS,
    ImageRefused,
    clean_image,
    decode_image,
    decode_inspected,
    inspect_image,
)

FORMATS = {"JPEG": "JPEG", "PNG": "PNG", "WebP": "WEBP", "BMP": "BMP", "TIFF": "TIFF"}


def photo(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    """A smooth picture whose corners all differ, so that a turn or a flip shows."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // (width - 1), y * 255 // (height - 1), (x + 2 * y) * 2 % 256]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8)).convert(mode)


def written(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int, rows: bytes, *, laced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, laced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refusal(received: bytes) -> ImageRefused:
    with pytest.raises(ImageRefused) as caught:
        clean_image(received)
    return caught.value


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Secret Camera"
    return block.tobytes()


def plainly(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_allow_list_comes_out_as_jpeg_or_png(name: str) -> None:
    received = written(photo(), FORMATS[name], **({"lossless": True} if name == "WebP" else {}))
    image = clean_image(received)
    assert image.format == ("JPEG" if name == "JPEG" else "PNG")
    assert (image.width, image.height) == (40, 24)
    assert image.sample_id == hashlib.sha256(received).hexdigest()
    assert image.sha256 == hashlib.sha256(image.content).hexdigest()
    assert len(image.thumbnail) == 256
    np.testing.assert_array_equal(
        decode_image(image.content), plainly(Image.open(io.BytesIO(received)))
    )


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 60, "subsampling": 2}])
def test_a_jpeg_keeps_its_scan_and_loses_its_metadata(mode: str, options: dict) -> None:
    bare = written(photo(mode=mode), "JPEG", **options)
    told = written(photo(mode=mode), "JPEG", exif=exif(1), comment=b"secret", dpi=(72, 72),
                   icc_profile=b"secret" * 99, xmp=b"<secret/>", **options)  # fmt: skip
    assert b"secret" in told.lower()
    assert b"secret" not in clean_image(told).content.lower()
    assert clean_image(told).content == clean_image(bare).content
    assert clean_image(told).sample_id != clean_image(bare).sample_id
    scan = bare[bare.index(b"\xff\xda") :]
    assert clean_image(told).content.endswith(scan)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_has_the_pixels_that_pillow_sees(
    mode: str, subsampling: int, progressive: bool
) -> None:
    options = {"progressive": progressive} | ({"subsampling": subsampling} if mode == "RGB" else {})
    for width, height in ((2, 2), (7, 9), (16, 31), (33, 65)):
        content = clean_image(written(photo(width, height, mode), "JPEG", **options)).content
        seen = decode_image(content)
        np.testing.assert_array_equal(seen, plainly(Image.open(io.BytesIO(content))))


def test_what_follows_the_end_of_a_jpeg_goes() -> None:
    one = written(photo(), "JPEG")
    assert clean_image(one + b"a film, with sound").content == clean_image(one).content
    pair = written(photo(), "MPO", save_all=True, append_images=[photo()])
    np.testing.assert_array_equal(
        decode_image(clean_image(pair).content), decode_image(clean_image(one).content)
    )


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_png_keeps_its_pixels_and_loses_its_metadata(mode: str) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "secret")
    notes.add_itxt("Note", "secret", zip=True)
    told = written(photo(mode=mode), "PNG", pnginfo=notes, dpi=(72, 72), icc_profile=b"secret")
    image = clean_image(told)
    names = [image.content[at + 4 : at + 8] for at in chunk_starts(image.content)]
    assert set(names) == {b"IHDR", b"IDAT", b"IEND"}
    assert len(image.content) < len(told)
    np.testing.assert_array_equal(decode_image(image.content), plainly(photo(mode=mode)))


def chunk_starts(content: bytes) -> list[int]:
    at, starts = 8, []
    while at < len(content):
        starts.append(at)
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return starts


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF"])
def test_orientation_is_applied_once(name: str, orientation: int) -> None:
    options = {"quality": 100, "subsampling": 0} if name == "JPEG" else {}
    options |= {"lossless": True} if name == "WebP" else {}
    received = written(photo(), FORMATS[name], exif=exif(orientation), **options)
    turns = [None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
             Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270,
             Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90]  # fmt: skip
    turn = turns[orientation]
    wanted = plainly(photo() if turn is None else photo().transpose(turn))
    image = clean_image(received)
    assert (image.height, image.width) == wanted.shape[:2]
    off = np.abs(decode_image(image.content).astype(int) - wanted)
    assert off.mean() < (2 if name == "JPEG" else 0.001)
    np.testing.assert_array_equal(
        decode_image(clean_image(image.content).content), decode_image(image.content)
    )


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08"]
)
def test_broken_exif_is_ignored(block: bytes) -> None:
    np.testing.assert_array_equal(
        decode_image(clean_image(written(photo(), "JPEG", exif=block)).content),
        decode_image(clean_image(written(photo(), "JPEG")).content),
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("percent", [10, 30, 50, 70, 90, 99])
def test_a_file_cut_short_is_refused(name: str, percent: int) -> None:
    whole = written(photo(200, 120), FORMATS[name])
    cut = whole[: len(whole) * percent // 100]
    assert refusal(cut).reason == "TRUNCATED"


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_no_cut_of_a_jpeg_or_png_passes(name: str) -> None:
    whole = written(photo(), FORMATS[name], **({"progressive": True} if name == "JPEG" else {}))
    reasons = {refusal(whole[:at]).reason for at in range(8, len(whole))}
    assert reasons == {"TRUNCATED"}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_cut_inside_its_picture_is_refused_whatever_end_it_was_given(
    mode: str, options: dict[str, object]
) -> None:
    whole = written(photo(200, 120, mode), "JPEG", **options)
    start = whole.index(b"\xff\xda") + 20
    for at in np.linspace(start, len(whole) - 4, 9, dtype=int):
        assert refusal(whole[:at].rstrip(b"\xff") + b"\xff\xd9").reason == "TRUNCATED"


def test_bytes_after_the_picture_of_a_jpeg_or_another_decoder_refuse_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = written(photo(), "JPEG")
    longer = clean_image(whole[:-2] + b"more" + whole[-2:])
    np.testing.assert_array_equal(decode_image(longer.content), decode_image(whole))
    cleaned = clean_image(whole)
    monkeypatch.setattr("core.plain_jpeg.decode", None)  # where simplejpeg has no wheel
    assert clean_image(whole) == cleaned


def test_a_png_with_a_flipped_bit_is_refused() -> None:
    whole = bytearray(written(photo(), "PNG"))
    whole[len(whole) // 2] ^= 1
    assert refusal(bytes(whole)).reason == "TRUNCATED"


def test_a_png_with_too_few_rows_is_refused() -> None:
    assert clean_image(png_of(8, 8, bytes(9 * 8))).height == 8
    assert refusal(png_of(8, 8, bytes(9 * 8 - 1))).reason == "TRUNCATED"


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_with_too_few_bytes_for_its_picture_is_refused(progressive: bool) -> None:
    """600 bytes were decoded to 8192 x 8192 pixels of grey, in 200 MB of memory."""
    white = Image.new("L", (2048, 2048), "white")
    whole = bytearray(written(white, "JPEG", progressive=progressive, optimize=True))
    assert clean_image(bytes(whole)).width == 2048, "one colour takes two bits a block"
    at = whole.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    whole[at + 5 : at + 9] = struct.pack(">HH", 8192, 8192)
    problem = refusal(bytes(whole))
    assert (problem.reason, "8192 x 8192" in problem.detail) == ("TRUNCATED", True)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (33, 17)])
def test_an_interlaced_png_is_whole_or_refused(size: tuple[int, int]) -> None:
    grey = np.random.default_rng(3).integers(256, size=size, dtype=np.uint8)
    steps = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    passes = [grey[top::down, left::across] for top, left, down, across in steps]
    rows = b"".join(b"\0" + row.tobytes() for some in passes if some.size for row in some)
    image = clean_image(png_of(size[1], size[0], rows, laced=1))
    np.testing.assert_array_equal(decode_image(image.content)[:, :, 0], grey)
    assert refusal(png_of(size[1], size[0], rows[:-1], laced=1)).reason == "TRUNCATED"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about the tags of a TIFF
def test_no_mutation_crashes_the_cleaner() -> None:
    rng = np.random.default_rng(7)
    for name, format in FORMATS.items():
        whole = written(photo(), format)
        for _ in range(150):
            hurt = bytearray(whole)
            for at in rng.integers(len(hurt), size=rng.integers(1, 6)):
                hurt[at] = rng.integers(256)
            try:
                image = clean_image(bytes(hurt))
            except ImageRefused as refused:
                assert refused.detail, name
            else:
                assert decode_image(image.content).shape == (image.height, image.width, 3)


@pytest.mark.parametrize(
    ("received", "reason", "said"),
    [
        (b"", "EMPTY", "no bytes"),
        (b"<!DOCTYPE html><html>404</html>", "NOT_AN_IMAGE", "HTML"),
        (b"%PDF-1.7 ...", "NOT_AN_IMAGE", "PDF"),
        (b"PK\x03\x04....", "NOT_AN_IMAGE", "ZIP"),
        (b"dear reader,\n", "NOT_AN_IMAGE", "text"),
        (b"BMW is a car", "NOT_AN_IMAGE", "text"),
        (b"\x01\x02\x03\x04", "NOT_AN_IMAGE", "01 02 03 04"),
        (b"\x00\x00\x00\x18ftypheic", "UNSUPPORTED", "HEIC"),
        (b"\x00\x00\x00\x18ftypisom", "NOT_AN_IMAGE", "video"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "UNSUPPORTED", "SVG"),
    ],
)
def test_what_is_no_image_is_refused_by_what_it_is(received: bytes, reason: str, said: str) -> None:
    refused = refusal(received)
    assert (refused.reason, said in refused.detail) == (reason, True)
    assert refused.reason in str(refused)


def test_a_gif_is_refused_by_name() -> None:
    frames = [photo(mode="P"), photo(mode="L").convert("P")]
    moving = written(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for received in (moving, written(frames[0], "GIF")):
        assert refusal(received).reason == "UNSUPPORTED"
        assert "GIF" in refusal(received).detail


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_several_frames_or_pages_are_refused(format: str) -> None:
    other = photo().transpose(Image.Transpose.ROTATE_180)
    moving = written(photo(), format, save_all=True, append_images=[other])
    assert refusal(moving).reason == "ANIMATED"


def bomb(format: str, width: int, height: int) -> bytes:
    """A small file whose header claims width x height."""
    if format == "PNG":
        return png_of(width, height, bytes(1000))
    small = bytearray(written(photo(16, 16), format))
    if format == "JPEG":
        frame = small.index(b"\xff\xc0")
        small[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif format == "BMP":
        small[18:26] = struct.pack("<ii", width, height)
    elif format == "WEBP":
        at = small.index(b"\x9d\x01\x2a") + 3
        small[at : at + 4] = struct.pack("<HH", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            at = small.index(struct.pack("<HHI", tag, 4, 1) + struct.pack("<I", 16))
            small[at + 8 : at + 12] = struct.pack("<I", value)
    return bytes(small)


@pytest.mark.parametrize("format", FORMATS.values())
def test_too_many_pixels_are_refused_before_they_are_decoded(format: str) -> None:
    width, height = (16_000, 9_000) if format == "WEBP" else (20_000, 20_000)
    refused = refusal(bomb(format, width, height))
    assert refused.reason == "TOO_MANY_PIXELS"
    assert f"{width} x {height}" in refused.detail
    assert f"{MAX_PIXELS:,}" in refused.detail


def tiff_of(**tags: int) -> bytes:
    """A TIFF of 4x4 grey pixels with one strip, and whatever tags are named by number."""
    rows = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 279: 16}
    rows |= {int(tag.removeprefix("tag")): value for tag, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, rows[tag]) for tag in sorted(rows))
    head = struct.pack("<2sHI", b"II", 42, 24) + bytes(range(16))
    return head + struct.pack("<H", len(rows)) + entries + bytes(4)


def test_a_tile_larger_than_the_limit_is_refused() -> None:
    assert clean_image(tiff_of()).width == 4
    assert refusal(tiff_of(tag322=16_384, tag323=16_384)).reason == "TOO_MANY_PIXELS"


def test_a_tiff_with_too_few_strips_is_refused() -> None:
    assert refusal(tiff_of(tag257=400, tag278=4)).reason == "TRUNCATED"


def test_12_bits_and_inverted_16_bits_are_scaled_by_their_own_range() -> None:
    twelve = clean_image(tiff_of(tag256=4, tag257=2, tag258=12, tag279=12))
    values = decode_image(twelve.content)[:, :, 0]
    assert (values[0, 0], values[0, 1]) == (0x000 >> 4, 0x102 >> 4)
    sixteen = clean_image(tiff_of(tag256=4, tag257=2, tag258=16, tag262=0))
    assert decode_image(sixteen.content)[0, 0, 0] == 255 - 0x01


def test_too_many_bytes_are_refused() -> None:
    refused = refusal(b"\xff\xd8" + bytes(MAX_BYTES))
    assert refused.reason == "TOO_MANY_BYTES"
    assert f"{MAX_BYTES:,}" in refused.detail


def test_a_jpeg_with_endless_scans_is_refused() -> None:
    whole = written(photo(), "JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert refusal(whole[:-2] + scan * 200 + b"\xff\xd9").reason == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("format", "mode"),
    [("PNG", "1"), ("PNG", "P"), ("PNG", "L"), ("TIFF", "1"), ("TIFF", "P"), ("TIFF", "CMYK"),
     ("TIFF", "L"), ("TIFF", "YCbCr"), ("JPEG", "CMYK"), ("JPEG", "L"), ("BMP", "P"), ("BMP", "1")],
)  # fmt: skip
def test_every_opaque_mode_keeps_its_picture(format: str, mode: str) -> None:
    picture = photo(mode=mode)
    got = decode_image(clean_image(written(picture, format)).content).astype(int)
    off = np.abs(got - plainly(picture))
    assert off.mean() < (4 if format == "JPEG" else 0.001)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    picture = photo(mode="RGBA")
    alpha = np.zeros((24, 40), np.uint8)
    alpha[:, 20:] = 255
    picture.putalpha(Image.fromarray(alpha))
    if mode == "P":
        received = written(photo(mode="L"), "PNG", transparency=0)  # a colour that means nothing
        assert (
            decode_image(clean_image(received).content)[plainly(photo(mode="L")) == 0] == 255
        ).all()
        return
    picture = picture.convert(mode)
    got = decode_image(clean_image(written(picture, "PNG")).content)
    assert (got[:, :20] == 255).all()
    np.testing.assert_array_equal(got[:, 20:], plainly(picture)[:, 20:])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_without_saturation(format: str) -> None:
    values = np.linspace(0, 65535, 40 * 24).astype(np.uint16).reshape(24, 40)
    got = decode_image(clean_image(written(Image.fromarray(values), format)).content)[:, :, 0]
    np.testing.assert_array_equal(got, values >> 8)


def test_floats_from_0_to_1_are_scaled_and_others_refused() -> None:
    values = np.linspace(0, 1, 40 * 24, dtype=np.float32).reshape(24, 40)
    got = decode_image(clean_image(written(Image.fromarray(values), "TIFF")).content)[:, :, 0]
    np.testing.assert_array_equal(got, np.round(values * 255))
    for wrong in (values * 4095, values - 0.5, np.where(values > 0.9, np.nan, values)):
        assert (
            refusal(written(Image.fromarray(wrong.astype(np.float32)), "TIFF")).reason
            == "UNSUPPORTED"
        )


def test_32_bit_integers_are_refused_with_the_remedy() -> None:
    refused = refusal(written(Image.fromarray(np.zeros((9, 9), np.int32)), "TIFF"))
    assert refused.reason == "UNSUPPORTED"
    assert "8 bits" in refused.detail


def test_one_pixel_is_an_image() -> None:
    assert decode_image(
        clean_image(written(photo(2, 2).crop((0, 0, 1, 1)), "PNG")).content
    ).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "LA"),
     ("PNG", "RGBA"), ("WEBP", "RGBA"), ("BMP", "RGBA"), ("TIFF", "CMYK"), ("TIFF", "RGBA")],
)  # fmt: skip
def test_cleaning_again_changes_no_pixel(format: str, mode: str) -> None:
    received = written(photo(mode=mode), format)
    once = clean_image(received)
    assert clean_image(received) == once
    assert clean_image(once.content).content == once.content


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("format", "mode"),
    [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "1"), ("PNG", "P"), ("PNG", "L"),
     ("PNG", "RGBA"), ("PNG", "I;16"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("BMP", "RGB"),
     ("TIFF", "CMYK"), ("TIFF", "RGBA")],
)  # fmt: skip
def test_an_inspected_image_has_the_pixels_of_the_clean_one(
    format: str, mode: str, orientation: int
) -> None:
    """What a model is served is what it was trained on, to the bit."""
    turned = {} if format == "BMP" else {"exif": exif(orientation)}
    picture = photo(65, 47, mode="L" if mode == "I;16" else mode).convert(mode)
    received = written(picture, format, **turned)
    expected = decode_image(clean_image(received).content)
    assert np.array_equal(decode_inspected(inspect_image(received)), expected)


@pytest.mark.parametrize("format", FORMATS.values())
def test_the_work_of_decoding_is_known_without_decoding(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = written(photo(64, 48), format)
    monkeypatch.setattr(ImageFile, "load", None)
    assert inspect_image(received).work == 64 * 48


def test_scans_and_tiles_count_as_the_work_they_are() -> None:
    whole = written(photo(64, 48), "JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert inspect_image(whole).work == 64 * 48
    assert inspect_image(whole[:-2] + scan * 85 + b"\xff\xd9").work == 64 * 48 * 9
    assert inspect_image(tiff_of(tag322=512, tag323=256)).work == 512 * 256


@pytest.mark.parametrize("side", [160, 96, 40, 16, 8])
def test_sizes_of_one_picture_look_alike(side: int) -> None:
    large = photo(8, 8).resize((320, 320), Image.Resampling.BICUBIC)
    small = large.resize((side, side), Image.Resampling.BICUBIC)
    looks = [
        np.frombuffer(clean_image(written(picture, "PNG")).thumbnail, np.uint8).astype(int)
        for picture in (large, small)
    ]
    assert np.sqrt(np.mean((looks[0] - looks[1]) ** 2)) < 0.1 * looks[0].std()


def test_a_bmp_that_claims_a_palette_of_thousands_is_refused() -> None:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).convert("P").save(buffer, "BMP")
    whole = bytearray(buffer.getvalue())
    assert clean_image(bytes(whole)).width == 8
    whole[46:50] = (40_000).to_bytes(4, "little")
    with pytest.raises(ImageRefused, match="more than 256 palette colours"):
        clean_image(bytes(whole))


def test_what_pillow_warns_of_is_not_kept_for_ever() -> None:
    """In a process of its own: pytest sets the filters of warnings anew for each test."""
    many = (
        "import io, PIL.TiffImagePlugin as plugin; from PIL import Image\n"
        "from core.images import clean_image\n"
        "for count in range(2, 9):\n"
        "    buffer = io.BytesIO()\n"
        "    tags = plugin.ImageFileDirectory_v2()\n"
        "    tags[277] = (1,) * count\n"
        "    tags.tagtype[277] = 3\n"
        "    Image.new('L', (8, 8)).save(buffer, 'TIFF', tiffinfo=tags)\n"
        "    content = buffer.getvalue()\n"
        "    try: clean_image(content)\n"
        "    except ValueError: pass\n"
        "print(*(key for key in getattr(plugin, '__warningregistry__', {}) if key != 'version'))\n"
    )
    shown = subprocess.run([sys.executable, "-c", many], capture_output=True, text=True, check=True)
    assert (shown.stdout, shown.stderr) == ("\n", "")
