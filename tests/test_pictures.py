"""Pictures: where each pixel of a grid and of a density is, and that files give back what was written."""

import numpy as np
import pytest
import torch
from PIL import Image

from tinyddpm import pictures


def seed(n):
    return torch.Generator().manual_seed(n)


def grey(*values):
    """Pictures of one pixel each."""
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def as_bytes(x):
    return ((x.double() + 1) * 127.5).round().numpy().astype(np.uint8)


def test_pictures_stand_in_rows_with_white_lines_around_each():
    """By hand: one line above and left of each, one right of and below all; what is missing in the last row is white."""
    w, pixels = 255, pictures.grid(torch.tensor([[[[-1.0, 1.0]]], [[[0.0, -1.0]]], [[[-1.0, 0.0]]]]), columns=2)
    assert pixels.dtype == np.uint8 and pixels.tolist() == [
        [w, w, w, w, w, w, w],
        [w, 0, 255, w, 128, 0, w],
        [w, w, w, w, w, w, w],
        [w, 0, 128, w, w, w, w],
        [w, w, w, w, w, w, w],
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "columns"), [(1, 1), (5, 2), (6, 3), (3, 5), (4, 1)])
def test_each_picture_is_whole_at_its_place(n, columns, channels):
    x = torch.rand(n, channels, 4, 3, generator=seed(0)) * 2 - 1
    pixels, rows = pictures.grid(x, columns), -(-n // columns)
    assert pixels.shape == (5 * rows + 1, 4 * columns + 1, 3)[: 3 if channels == 3 else 2]
    rest = pixels.copy()
    for i, one in enumerate(as_bytes(x)):
        down, right = 5 * (i // columns) + 1, 4 * (i % columns) + 1
        here = np.s_[down : down + 4, right : right + 3]
        assert np.array_equal(pixels[here], one[0] if channels == 1 else one.transpose(1, 2, 0))
        rest[here] = 255
    assert (rest == 255).all()


@pytest.mark.parametrize(("n", "size"), [(1, (3, 3)), (2, (3, 5)), (4, (5, 5)), (5, (5, 7)), (9, (7, 7)), (10, (7, 9))])
def test_without_columns_a_grid_is_about_square(n, size):
    assert pictures.grid(torch.zeros(n, 1, 1, 1)).shape == size


@pytest.mark.parametrize("channels", [1, 3])
def test_zoom_repeats_every_pixel(channels):
    x = torch.rand(3, channels, 2, 4, generator=seed(0))
    once, more = pictures.grid(x), pictures.grid(x, zoom=3)
    assert np.array_equal(more, once.repeat(3, axis=0).repeat(3, axis=1)) and np.array_equal(pictures.grid(x, zoom=1), once)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_from_minus_one_to_one_are_bytes_and_what_is_outside_is_cut_off(dtype):
    x = grey(-1.0, 0.0, 1.0, -1.5, 7.0, 0.5, -0.25).to(dtype).requires_grad_()
    assert pictures.grid(x, columns=7)[1, 1::2].tolist() == [0, 128, 255, 0, 255, 191, 96]


def test_a_density_has_x_to_the_right_and_y_up():
    points = torch.tensor([[2.0, 2.0], [2.0, 2.0], [-2.0, 2.0], [0.0, -2.0]])
    pixels = pictures.density(points, side=3)
    assert pixels.dtype == np.uint8 and ((pixels < 255) == [[True, False, True], [False, False, False], [False, True, False]]).all()


def test_the_more_points_the_darker():
    """In a share of the fullest cells, so that a few full ones do not make the others pale."""
    points = torch.tensor([[-2.0, 0.0]] * 4 + [[0.0, 0.0]] * 2 + [[2.0, 0.0]])
    left, middle, right = pictures.density(points, side=3)[1].tolist()
    assert 0 <= left < middle < right < 255
    heap = torch.cat([torch.tensor([[i / 10 - 0.95, 0.95 - j / 10] for i in range(20) for j in range(20)]), torch.zeros(1000, 2)])
    pixels = pictures.density(heap, side=20, reach=1.0)
    assert (pixels == 0).all()


def test_points_outside_are_left_out():
    inside, outside = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.5, 0.0], [0.0, 1.5], [-1.5, 0.0], [0.0, -9.0]])
    one = pictures.density(inside, side=2, reach=1.0)
    assert one.tolist() == [[255, 0], [255, 255]]
    assert np.array_equal(pictures.density(torch.cat([inside, outside]), side=2, reach=1.0), one)
    assert (pictures.density(outside, side=2, reach=1.0) == 255).all()


def test_a_density_is_of_256_pixels_and_reaches_to_three():
    pixels = pictures.density(torch.tensor([[2.99, -2.99], [3.01, 0.0]]))
    assert pixels.shape == (256, 256) and pixels[255, 255] < 255 and (pixels < 255).sum() == 1


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_png_gives_back_every_pixel(channels, as_path, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, *channels), dtype=np.uint8)
    path = as_path(tmp_path / "picture.png")
    pictures.write(path, pixels)
    x = pictures.read(path)
    assert x.shape == (3 if channels else 1, 5, 7) and x.dtype == torch.float32 and x.is_contiguous()
    assert np.array_equal(as_bytes(x), pixels.transpose(2, 0, 1) if channels else pixels[None])


def test_the_name_says_the_format(tmp_path):
    for name, form in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.GIF", "GIF"), ("b.PNG", "PNG")):
        pictures.write(tmp_path / name, np.zeros((4, 6), np.uint8))
        with Image.open(tmp_path / name) as image:
            assert image.format == form


def test_what_is_read_can_be_shown_again(tmp_path):
    """From -1 for black to 1 for white, as `grid` takes it."""
    pictures.write(tmp_path / "a.png", np.array([[0, 128, 255]], np.uint8))
    x = pictures.read(tmp_path / "a.png")
    assert x.flatten().tolist() == pytest.approx([-1, 1 / 255, 1], abs=1e-6)
    assert pictures.grid(x[None])[1, 1:4].tolist() == [0, 128, 255]


def saved(path, pixels, mode=None):
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)
    return pictures.read(path)


def test_black_and_white_is_grey_and_so_is_transparent_grey(tmp_path):
    assert saved(tmp_path / "a.png", [[True, False]]).tolist() == [[[1, -1]]]
    assert saved(tmp_path / "b.png", np.array([[[255, 0], [0, 128]]], np.uint8)).tolist() == [[[1, -1]]]


def test_a_palette_and_a_transparent_picture_are_colour(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = torch.from_numpy(colours).permute(2, 0, 1) / 127.5 - 1
    assert torch.equal(saved(tmp_path / "palette.png", colours, "P"), expected)
    assert torch.equal(saved(tmp_path / "alpha.png", np.dstack([colours, [[255, 128, 0]]]).astype(np.uint8)), expected)


def test_sixteen_bits_of_grey_are_all_of_its_range(tmp_path):
    x = saved(tmp_path / "a.png", np.array([[0, 257, 32896, 65535]], np.uint16))
    torch.testing.assert_close(x, torch.tensor([[[0, 1, 128, 255]]]) / 127.5 - 1, rtol=0, atol=1 / 127.5)
