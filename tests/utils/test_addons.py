"""The warp is the same with and without tensorflow-addons."""

import numpy as np
import pytest

from tfcpn.transforms.normalize import native_transform, transform


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill_mode", ["constant", "nearest"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_tensorflow_warp_equals_tensorflow_addons_exactly(interpolation, fill_mode, dtype):
    addons = pytest.importorskip("tensorflow_addons", exc_type=ImportError)
    assert transform is addons.image.transform
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 20, 30, 3)).astype(dtype)
    angle = rng.uniform(-1, 1, 4)
    rows = [
        np.cos(angle),
        -np.sin(angle),
        rng.uniform(-9, 9, 4),
        np.sin(angle),
        np.cos(angle),
        rng.uniform(-9, 9, 4),
    ]
    rows = np.stack([*rows, np.zeros(4), np.zeros(4)], axis=1).astype(np.float32)
    for size in (None, (16, 12)):
        how = {
            "interpolation": interpolation,
            "fill_mode": fill_mode,
            "output_shape": size,
            "fill_value": 3.5,
        }
        np.testing.assert_array_equal(
            native_transform(images, rows, **how), transform(images, rows, **how)
        )


def test_the_warp_moves_an_image_by_whole_pixels():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    moved = transform(
        image, [[1, 0, 1, 0, 1, 0, 0, 0]], "bilinear", output_shape=(3, 4), fill_value=-1.0
    )
    np.testing.assert_array_equal(
        moved[0, :, :, 0], [[1, 2, 3, -1], [5, 6, 7, -1], [9, 10, 11, -1]]
    )
