"""A trained BlazePose in a copy of MediaPipe's file, and whether the copy says what Keras says."""

from __future__ import annotations

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.exporting.people import random_crops
from tfcpn.networks.blazepose_table import INPUT_SIZE
from tfcpn.networks.tflite_run import make_interpreter
from tfcpn.picture.cut import CropSpec

# The median distance of a file's landmarks from Keras's may be so many crop pixels: rounding what was learnt to
# float16 makes half of one.
MOST = 2.0


def checked(content: bytes, model) -> tuple[float, float]:
    """How far the landmarks of a file are from those of the model, in crop pixels, on made-up images.

    Returns the median and the greatest. Raises InputError if that is more than float16 explains.
    """
    running = make_interpreter(content)
    place, distances = running.get_input_details()[0]["index"], []
    output = next(o["index"] for o in running.get_output_details() if o["name"] == "Identity")
    for crop in random_crops(CropSpec(INPUT_SIZE, True, None), 4).crops:
        image = crop[None].astype(np.float32) / 255
        running.set_tensor(place, image)
        running.invoke()
        theirs = running.get_tensor(output).reshape(-1, 5)[:, :2]
        ours = model(image, training=False).landmarks.numpy()[0, :, :2]
        distances.append(np.linalg.norm(theirs - ours, axis=1))
    median, worst = float(np.median(distances)), float(np.max(distances))
    if not median <= MOST:
        raise InputError(
            f"the file's landmarks are {median:.2f} crop pixels off those of Keras: its float16 weights do not hold "
            "what was learnt; train with a lower --learning_rate"
        )
    return median, worst
