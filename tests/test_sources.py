"""What DATA means: each kind of it is read as by hand, with NumPy and Pillow, and what is not clear is asked or refused."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tinyddpm import examples, sources
from tinyddpm.examples import numbers
from tinyddpm.sources import Asked, source

DRAW = np.random.default_rng(0)
BYTES = DRAW.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)  # channels last
GREY = BYTES[..., 0]
DEEP = DRAW.integers(0, 2**16, (5, 6, 8), dtype=np.uint16)
SHARE = DRAW.random((5, 3, 6, 8)).astype(np.float32)
FIRST = BYTES.transpose(0, 3, 1, 2)
CLEAR = np.concatenate([BYTES, DRAW.integers(0, 256, (5, 6, 8, 1), dtype=np.uint8)], axis=3)


def over_white(rgba):
    """What is seen of bytes (n, height, width, 4) before white, in [-1, 1], channels first."""
    share = rgba / 255.0
    seen = share[..., :3] * share[..., 3:] + 1 - share[..., 3:]
    return np.round(seen.transpose(0, 3, 1, 2) * 255) / 127.5 - 1


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(name, **asked):
    """What is read, as the network gets it, and what is said of it."""
    found = source(str(name), Asked(**asked))
    x = found.x if isinstance(found.x, torch.Tensor) else torch.from_numpy(np.array(found.x))
    return numbers(x, torch.float32).numpy(), found


ARRAYS = {  # an array in a file, what of it the network gets, and a word of what is said
    "bytes, channels last": (BYTES, FIRST / 127.5 - 1, None),
    "bytes, channels first": (FIRST, FIRST / 127.5 - 1, None),
    "grey bytes": (GREY, GREY[:, None] / 127.5 - 1, None),
    "in columns": (np.asfortranarray(BYTES), FIRST / 127.5 - 1, None),
    "16 bits": (DEEP, DEEP[:, None] / 32767.5 - 1, None),
    "16 bits, other order": (DEEP.astype(">u2"), DEEP[:, None] / 32767.5 - 1, None),
    "12 bits in 16": (DEEP // 16, (DEEP // 16)[:, None] / 32767.5 - 1, "of 65535, which is dark"),
    "bytes in 16 bits": (GREY.astype(np.uint16), GREY[:, None] / 127.5 - 1, "255 for white"),
    "dark bytes": (GREY // 16, (GREY // 16)[:, None] / 127.5 - 1, "never go above 15 of 255, which is dark"),
    "bytes in 64 bits": (GREY.astype(np.int64), GREY[:, None] / 127.5 - 1, "255 for white"),
    "black and white": (GREY // 128, (GREY // 128)[:, None] * 2.0 - 1, "numbers from 0 to 1, where 0 is taken for black and 1 for"),
    "-1 and 1": (GREY // 128 * 2 - np.int8(1), (GREY // 128)[:, None] * 2.0 - 1, None),
    "in colour, or three in grey": (
        GREY[:3],
        GREY[:3, None] / 127.5 - 1,
        "taken for 3 pictures in grey, where one in colour",
    ),
    "black": (GREY * 0, GREY[:, None] * 0.0 - 1, None),
    "in [-1, 1]": (2 * SHARE - 1, 2 * SHARE - 1, None),
    "in [-1, 1], 64 bits, other order": ((2 * SHARE - 1).astype(">f8"), 2 * SHARE - 1, None),
    "in [0, 1]": (SHARE, 2 * SHARE - 1, "where 0 is taken for black and 1 for white"),
    "in [0, 255]": (255 * SHARE, 2 * SHARE - 1, "where 0 is taken for black and 255 for white"),
    "RGBA": (CLEAR, over_white(CLEAR), "taken for alpha, and the pictures are laid over white"),
    "codes of 4 channels": (2 * np.repeat(SHARE, 2, 1)[:, :4] - 1, 2 * np.repeat(SHARE, 2, 1)[:, :4] - 1, None),
    "odd sides": (np.zeros((9, 30, 30), np.uint8), np.zeros((9, 1, 30, 30)) - 1, None),
    "100 in colour": (np.zeros((100, 3, 32, 32), np.uint8), np.zeros((100, 3, 32, 32)) - 1, None),
}


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_of_pictures(kind, in_memory, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(sources, "SMALL", 0)
        monkeypatch.setattr(examples, "PIECE", 300)  # two pictures
    array, expected, said = ARRAYS[kind]
    np.save("x.npy", array)
    x, found = read("x.npy")
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-6)
    assert found.shift is found.scale is None and isinstance(found.x, torch.Tensor) is in_memory
    assert (found.lines == []) if said is None else (len(found.lines) == 1 and said in found.lines[0])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<i8", "<u2", "g"])
def test_points_stay_as_they_are_and_their_size_is_measured(dtype):
    x = (1000 * DRAW.standard_normal((50, 2)) + [30000, 5000]).round().astype(dtype)
    np.save("x.npy", x)
    read_, found = read("x.npy")
    assert read_.tolist() == x.tolist()
    np.testing.assert_allclose(found.shift, x.astype(float).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.scale, x.astype(float).std(0), rtol=1e-6)


def test_a_coordinate_that_does_not_change_keeps_its_size():
    np.save("x.npy", np.array([[1.0, 7.0], [3.0, 7.0]]))
    assert read("x.npy")[1].scale == [1.0, 1.0] and read("x.npy")[1].shift == [2.0, 7.0]
    np.save("x.npy", np.array([[1e7, 0.0], [1e7 + 4, 2.0]]))
    found = read("x.npy")[1]
    assert (
        found.scale == [2.0, 1.0] and "coordinate 0 has mean 1e+07 and standard deviation 2 only, which float32" in found.lines[0]
    )
    for dtype in (float, int):
        np.save("x.npy", np.array([[5, 10**8], [6, 10**8 + 1], [5, 10**8 - 1]], dtype))
        found = read("x.npy")[1]
        assert found.lines == ["x.npy: coordinate 1 changes by less than float32 can tell at 1e+08: subtract the mean first"]
    np.save("x.npy", np.array([[5.0, 1e8], [6.0, 1e8]]))
    assert read("x.npy")[1].lines == []


@pytest.mark.parametrize(
    ("shape", "asked", "expected"),
    [
        ((5, 8, 8, 8), {}, "is that 8 channels of 8x8 pixels (--channels first), or 8x8 pixels of 8 channels (--channels last)?"),
        ((5, 3, 9, 3), {}, "is that 3 channels of 9x3 pixels"),
        ((5, 3, 9, 3), {"channels": "first"}, (3, 9, 3)),
        ((5, 3, 9, 3), {"channels": "last"}, (3, 3, 9)),
        ((5, 3, 9, 3), {"shape": (3, 3, 9)}, (3, 3, 9)),
        ((5, 3, 9, 3), {"shape": (3, 9, 3)}, (3, 9, 3)),
        ((5, 16, 8, 12), {"channels": "first"}, (16, 8, 12)),
        ((5, 32, 32, 3), {"shape": (3, 32, 32)}, (3, 32, 32)),
        ((64, 64, 3), {}, "a picture in colour is (1, 64, 64, 3)"),
        ((64, 64, 1), {}, "a picture in grey is (1, 64, 64, 1), and grey ones are (64, 64, 1, 1)"),
        ((5, 64), {}, "has bytes of shape (5, 64), expected (n, height, width)"),
        ((2, 3, 4, 5, 6), {}, "expected points (n, d) or pictures"),
        ((5, 8, 8), {"channels": "last"}, "--channels is for pictures in four dimensions"),
    ],
)
def test_the_layout_is_clear_or_asked_for(shape, asked, expected):
    np.save("x.npy", DRAW.integers(0, 256, shape, dtype=np.uint8))
    if isinstance(expected, tuple):
        assert read("x.npy", **asked)[0].shape[1:] == expected
    else:
        with pytest.raises(ValueError) as caught:
            read("x.npy", **asked)
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (3 * SHARE, "expected pictures as numbers in [-1, 1], in [0, 1] or in [0, 255], or as bytes"),
        (1.5 * SHARE, "has numbers from"),
        (16 * SHARE, "has numbers from"),
        (SHARE - 3, "expected pictures as numbers"),
        (GREY.astype(int) - 5, "expected pictures as numbers"),
        (DEEP.astype(int), "16 bits are x.astype('uint16')"),
        (GREY > 5, "black and white pictures are x.astype('uint8') * 255"),
        (np.where(SHARE > 0.5, np.nan, SHARE), "x.npy has a number that is NaN or infinite"),
        (np.array([[0.0, 1], [np.nan, 2]]), "x.npy[1] has an entry that is NaN or infinite"),
        (np.array([[0.0, 1], [1e300, 2]]), "more than float32 can hold"),
        (np.zeros(5), "points on a line are (5, 1)"),
    ],
)
def test_what_is_no_data_is_named(array, message):
    np.save("x.npy", array)
    with pytest.raises(ValueError) as caught:
        read("x.npy")
    assert message in str(caught.value)


def test_only_so_many_rows_as_are_asked_for():
    np.save("x.npy", np.where(np.arange(10)[:, None] < 4, 1.0, np.nan) * np.ones(2))
    assert read("x.npy", rows=4)[0].shape == (4, 2)


# --- archives ---


@pytest.mark.parametrize(
    ("arrays", "asked", "data", "labels"),
    [
        ({"arr_0": GREY}, {}, GREY, None),
        ({"images": GREY, "labels": np.arange(5)}, {"labels": True}, GREY, np.arange(5)),
        ({"x": GREY, "mean": GREY * 0, "y": np.arange(5)[:, None]}, {"labels": True}, GREY, np.arange(5)),
        (
            {"x_train": GREY, "y_train": np.arange(5), "x_test": GREY[:2], "y_test": np.arange(2)},
            {"labels": True},
            GREY,
            np.arange(5),
        ),
        ({"x_train": GREY, "x_test": GREY[:2]}, {"part": "test"}, GREY[:2], None),
    ],
)
def test_an_archive(arrays, asked, data, labels):
    np.savez_compressed("x.npz", **arrays)
    x, found = read("x.npz", **asked)
    np.testing.assert_allclose(x, data[:, None] / 127.5 - 1, atol=1e-6)
    assert (found.labels is None) if labels is None else (found.labels.tolist() == labels.tolist())


def test_an_archive_that_is_not_clear_or_broken():
    np.savez("x.npz", a=GREY, b=GREY)
    with pytest.raises(ValueError, match=r"of the name x, data, images or train: it holds a, b"):
        read("x.npz")
    np.savez("x.npz", x=GREY, y=np.arange(4))
    with pytest.raises(ValueError, match=r"has shape \(4,\) and dtype int64, expected \(5,\) integers"):
        read("x.npz", labels=True)
    with open("x.npz", "wb") as file:
        np.save(file, GREY)
    with pytest.raises(ValueError, match=r"x.npz is no file .npz of data: it is one array, whose name ends in .npy"):
        read("x.npz")
    np.savez("x.npz", x=np.array([{}]))
    with pytest.raises(ValueError, match=r"x.npz is no file .npz of data"):
        read("x.npz")
    for content in (b"", b"no archive", b"PK\3\4 and no more"):
        Path("x.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"x.npz is no file .npz of data"):
            read("x.npz")


# --- pictures ---


def save(name, pixels, **more):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(name, **more)


def scene(width, height):
    """A smooth picture, red to the right and green down."""
    right, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([right, down, 255 - right], axis=2).round().astype(np.uint8)


def by_hand(pixels, side):
    """The middle square, each of whose blocks becomes a pixel."""
    height, width = pixels.shape[:2]
    least = min(height, width)
    top, left = (height - least) // 2, (width - least) // 2
    square, block = pixels[top : top + least, left : left + least], least // side
    return square.reshape(side, block, side, block, -1).mean((1, 3)).transpose(2, 0, 1) / 127.5 - 1


def test_a_folder_of_mixed_pictures():
    """Sorted, each as by hand; what is said names the sizes, what is transparent, and what was left out."""
    save("photos/a.png", scene(64, 128))
    save("photos/b.JPG", scene(160, 96), quality=95)
    save("photos/deep/c.webp", scene(96, 96), quality=95)
    save("photos/d.png", scene(64, 64)[..., 0])
    clear = np.dstack([scene(64, 64), np.full((64, 64), 102, np.uint8)])
    save("photos/e.png", clear)
    sixteen = (scene(64, 64)[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    save("photos/f.png", sixteen)
    Path("photos/broken.png").write_bytes(b"no picture")
    Path("photos/notes.txt").write_text("no picture")
    Path("photos/.hidden.png").write_bytes(b"")
    x, found = read("photos", size=32)
    grey = np.repeat(scene(64, 64)[..., :1], 3, axis=2)
    laid = scene(64, 64) * 0.4 + 255 * 0.6
    assert x.shape == (6, 3, 32, 32)
    for got, pixels in zip(
        x, [scene(64, 128), scene(160, 96), grey, scene(96, 96), laid, grey], strict=True
    ):  # d.png, deep/, e.png
        assert np.abs(got - by_hand(pixels, 32)).mean() < 0.03
    text = "\n".join(found.lines)
    assert "6 pictures in colour of 4 sizes from 64x64 to 160x96, resized and cropped to 32x32\n" in text
    assert "something is transparent in 1 of 6, and white behind it" in text
    assert "left out, as they cannot be read: broken.png" in text and "left out, as they are no pictures: notes.txt" in text


def test_a_picture_turned_by_its_camera_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter to the right
    save("photos/a.jpg", scene(40, 40), quality=100, exif=exif)
    x, _ = read("photos")
    turned = np.rot90(scene(40, 40), -1).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(x[0] - turned).mean() < 0.03


@pytest.mark.parametrize(
    ("sizes", "asked", "shape", "said"),
    [
        ([(20, 24)] * 2, {}, (3, 24, 20), "2 pictures in colour of 20x24"),
        ([(70, 80)] * 2, {}, (3, 32, 32), "of 70x80, resized and cropped to 32x32 (--size 64 for larger ones)"),
        ([(20, 24), (40, 40)], {}, (3, 32, 32), "resized and cropped to 32x32, 1 of them enlarged"),
        ([(20, 24)], {"size": 8}, (3, 8, 8), "1 picture in colour of 20x24, resized and cropped to 8x8"),
        ([(20, 24)], {"shape": (1, 8, 6)}, (1, 8, 6), "1 picture in grey of 20x24, resized and cropped to 6x8"),
    ],
)
def test_the_size_of_pictures(sizes, asked, shape, said):
    for i, (width, height) in enumerate(sizes):
        save(f"photos/{i}.png", scene(width, height))
    x, found = read("photos", **asked)
    assert x.shape == (len(sizes), *shape) and said in found.lines[0]


def test_one_picture():
    save("x.PNG", BYTES[0])
    assert read("x.PNG")[0] == pytest.approx(FIRST[:1] / 127.5 - 1, abs=1e-6)
    with pytest.raises(FileNotFoundError):
        read("missing.png")
    Path("bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"bad\.png is no picture that can be read"):
        read("bad.png")


def test_labels_are_the_names_of_subfolders():
    for name, i in itertools.product(["dog", "cat"], range(2)):
        save(f"photos/{name}/{i}.png", GREY[i])
    x, found = read("photos", labels=True)
    assert x.shape == (4, 1, 6, 8) and found.labels.tolist() == [0, 0, 1, 1] and "labels: 0 = cat (2), 1 = dog (2)" in found.lines
    save("photos/x.png", GREY[0])
    with pytest.raises(ValueError, match=r"x\.png is in no subfolder of photos, whose name would be its label"):
        read("photos", labels=True)


def test_classes_without_an_example_are_said():
    np.save("x.npy", GREY)
    np.save("y.npy", np.array([1, 2, 4, 4, 1]))
    assert read("x.npy", labels="y.npy")[1].lines == ["labels: 2 of the classes 0..4 have no example, the first is 0"]


def test_pictures_of_12_bits_in_16_are_said_to_be_dark():
    save("photos/0.png", DEEP[0] // 16)
    high = round(DEEP[0].max() // 16 / 257)
    assert read("photos")[1].lines[1] == f"photos: pictures that never go above {high} of 255, which is dark"


def test_what_is_no_picture_of_8_or_16_bits_is_left_out():
    save("photos/0.png", DEEP[0])
    save("photos/1.tif", DEEP[0].astype(np.int32) * 2**14)
    if hasattr(os, "mkfifo"):
        os.mkfifo("photos/2.png")  # nobody writes to it
    x, found = read("photos")
    assert len(x) == 1 and "photos: left out, as they cannot be read: 1.tif" in found.lines[1]


def test_a_folder_of_a_name_of_the_package():
    os.mkdir("digits")
    x, found = read("digits")
    assert x.shape == (1348, 1, 8, 8) and "not the folder digits here, which holds no pictures" in found.lines[0]
    assert read("digits", out=Path("digits"))[1].lines == []  # where the run is written
    save("digits/0.png", GREY[0])
    x, found = read("digits")
    assert x.shape == (1, 1, 6, 8) and "the folder digits here, and not those of that name" in found.lines[0]
    assert read("digits", packaged=True)[0].shape == (1348, 1, 8, 8)


def test_a_link_in_a_circle_and_a_run_inside_are_no_pictures():
    save("photos/0.png", GREY[0])
    save("photos/run/1.png", GREY[1])
    Path("photos/again").symlink_to(Path("photos").absolute())
    assert len(read("photos", out=Path("photos/run"))[0]) == 1


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("digits", {"size": 8}, "--size is for a folder of pictures, and digits is none"),
        ("digits", {"channels": "last"}, "--channels is for pictures in a file"),
        ("full", {"size": 10**6}, "--size 1000000 is above 4096"),
        ("faces", {}, "DATA faces is not one of digits, "),
        ("", {}, "DATA  is not one of digits, "),
        ("empty", {}, "the folder empty holds no pictures"),
        ("full", {}, "there is run.json"),
        ("broken", {}, "no picture in broken can be read"),
    ],
)
def test_what_cannot_be_is_one_clear_line(name, asked, message):
    os.mkdir("empty")
    os.mkdir("full")
    Path("full/run.json").touch()
    os.mkdir("broken")
    Path("broken/0.png").touch()
    with pytest.raises(ValueError) as caught:
        read(name, **asked)
    assert message in str(caught.value)
