"""Whole inputs to begin with: images of every kind that Pillow writes, label files, JSON."""

import io
import json
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "eel")
SAMPLE = "f" * 64
SCREEN = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image">'
    '<Choice value="cat"/><Choice value="dog"/><Choice value="eel"/></Choices></View>'
)
TOML = b"""title = "A zoo"
purpose = "to tell animals"
kind = "classification"
image_size = 16
price = 0.05

[[class]]
name = "cat"
hotkey = "1"
hint = "it purrs"

[[class]]
name = "dog"

[settling]
answers_needed = 1

[gate]

[watch]
"""


def image(number: int, mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A picture of noise and a gradient."""
    rng = np.random.default_rng(number)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    gradient = Image.linear_gradient("L").resize(size).convert("RGB")
    return Image.blend(noise, gradient, 0.7).convert(mode)


def images() -> list[bytes]:
    """One image of each kind that is taken, and of kinds that are not."""
    exif = Image.Exif()
    exif[274] = 6
    plain: dict[str, Any] = {"JPEG": {}, "PNG": {}, "WEBP": {}, "BMP": {}, "TIFF": {}, "GIF": {}}
    written = [_saved(image(1), name, **options) for name, options in plain.items()]
    written += [
        _saved(image(2), "JPEG", progressive=True, exif=exif, icc_profile=bytes(200)),
        _saved(image(3, "L"), "JPEG", quality=30),
        _saved(image(4, "CMYK"), "JPEG"),
        _saved(image(5, "RGBA"), "PNG", exif=exif),
        _saved(image(6, "P"), "PNG", transparency=0),
        _saved(image(7, "1"), "PNG"),
        _saved(Image.fromarray(np.asarray(image(8, "L"), np.uint16) * 200), "PNG"),
        _saved(image(9), "WEBP", lossless=True, exif=exif),
        _saved(image(10, "RGBA"), "WEBP"),
        _saved(image(11, "P"), "BMP"),
        _saved(image(12, "1"), "BMP"),
        _saved(image(13), "TIFF", compression="tiff_lzw"),
        _saved(image(14), "TIFF", compression="tiff_adobe_deflate"),
        _saved(image(15, "L"), "TIFF", compression="packbits"),
        _saved(image(16, "1"), "TIFF", compression="group4"),
        _saved(image(17, "F"), "TIFF"),
        _saved(image(18), "TIFF", compression="jpeg"),
        _saved(image(19), "PNG", save_all=True, append_images=[image(20)]),
    ]
    return written


def _saved(picture: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def form() -> list[bytes]:
    """The content type in the first line, the body of a request behind it."""
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="%d.png"\r\n'
        b"Content-Type: image/png\r\n\r\n%s\r\n" % (number, content)
        for number, content in enumerate(images()[:3])
    ]
    kind = b"multipart/form-data; boundary=x"
    return [
        kind + b"\n" + b"".join(parts) + b"--x--\r\n",
        kind + b"; charset=utf-8\n" + parts[0] + b"--x--\r\n",
        b"application/json\n{}",
        kind + b'\n--x\r\nContent-Disposition: form-data; name="images"\r\n\r\ntext\r\n--x--\r\n',
    ]


def csv() -> list[bytes]:
    """Tables as people and as this program write them."""
    rows = "".join(f"{number}.png,{CLASSES[number % 2]}\n" for number in range(8))
    whole = "".join(
        f'{SAMPLE},"a b/{number}.png",cat,ann@x.org,2026-11-21T10:00:00Z,2.5\n'
        for number in range(6)
    )
    head = "sample_id,image,label,annotator,answered_at,lead_time\n"
    return [f"image,label\n{rows}".encode(), f"{head}{whole}".encode(),
            f"\ufefffile;class\r\n{rows}".replace(",", ";").encode()]  # fmt: skip


def metadata() -> list[bytes]:
    """Tables of what is known about images beside their labels."""
    rows = "".join(f'{number}.png,"lens, {number}",north\n' for number in range(8))
    ids = "".join(f"{number:064}\t{number % 3}\tcat\n" for number in range(6))
    return [f"image,lens,site\n{rows}".encode(), f"sample_id\tLens Type\tlabel\n{ids}".encode()]


def coco() -> list[bytes]:
    """Images, annotations and categories."""
    numbers = range(1, 7)
    whole = {
        "info": {"description": "a"},
        "images": [{"id": n, "file_name": f"{n}.png", "width": 4, "height": 4} for n in numbers],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [0, 0, 2, 2]}
            for n in numbers
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    return [json.dumps(whole).encode()]


def annotation(number: int, name: str = "cat") -> dict[str, Any]:
    """An annotation as Label Studio's API and exports have it."""
    region = {"from_name": "label", "to_name": "image", "type": "choices",
              "value": {"choices": [name]}}  # fmt: skip
    return {"id": number, "completed_by": 1, "result": [region], "was_cancelled": False,
            "ground_truth": False, "lead_time": 2.5, "created_at": "2026-01-02T03:04:05Z",
            "updated_at": "2026-01-02T03:04:05.000006Z"}  # fmt: skip


def task(number: int) -> dict[str, Any]:
    """A task as Label Studio's API has it, with one annotation."""
    content = {"sample_id": f"{number:064x}", "round": "round-0001", "stage": "queue",
               "image": f"/data/local-files/?d=images/{number}.png"}  # fmt: skip
    return {"id": number, "data": content, "updated_at": f"2026-01-02T03:04:0{number}.000006Z",
            "overlap": 1, "total_annotations": 1, "cancelled_annotations": 0,
            "annotations": [annotation(number, CLASSES[number % 3])]}  # fmt: skip


def exports() -> list[bytes]:
    """Label Studio's JSON and JSON-MIN."""
    flat = [{"id": n, "image": f"{n}.png", "label": "dog", "annotator": 1, "annotation_id": n,
             "updated_at": "2026-01-02T03:04:05Z", "lead_time": 2.5} for n in range(5)]  # fmt: skip
    nested = [task(number) for number in range(5)]
    return [json.dumps(one).encode() for one in (nested, flat)]


def answers() -> list[bytes]:
    """An answer of Label Studio's API: a page of tasks."""
    tasks = [task(number) for number in range(5)]
    page = {"tasks": tasks, "total": 5, "total_annotations": 5, "total_predictions": 0}
    return [json.dumps(page).encode()]


def backend() -> list[bytes]:
    """What Label Studio sends to a model."""
    tasks = [{"id": n, "data": {"image": f"/data/local-files/?d=images/{n}.png"},
              "predictions": [], "annotations": []} for n in range(3)]  # fmt: skip
    asked = {"tasks": tasks, "label_config": SCREEN, "project": "1.2", "params": {"context": None}}
    setup = {"project": "1", "schema": SCREEN, "extra_params": {"model_version": "hone:0001-a"}}
    return [json.dumps(one).encode() for one in (asked, setup)]
