"""Convert Leeds Sports Pose, or its extended set, to COCO's annotation format."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from tfcpn.cli import Command, Options, enum, float_, integer, path
from tfcpn.data.coco import coco_categories
from tfcpn.data.image_headers import read_image_size
from tfcpn.skeleton import COCO, LSP, Skeleton
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

# The order of the rows of joints.mat, in both archives.
ROWS = LSP.keypoints
COMMAND = Command(
    "python tools/import_lsp.py",
    __doc__,
    {
        "Archive": [
            path("images", None, "Folder of im0001.jpg (or im00001.jpg) and so on.", required=True),
            path("joints", None, "The archive's joints.mat.", required=True),
            integer("first", 1, "Number of the first image.", minimum=1),
            integer(
                "last", 0, "Number of the last image; 0: of the last one that there is.", minimum=0
            ),
        ],
        "Output": [
            path("output", None, "Annotation file to write.", required=True),
            enum(
                "skeleton",
                "lsp",
                ("lsp", "coco"),
                "LSP's 14 keypoints, or COCO's 17 with the face unlabeled.",
            ),
            float_(
                "margin",
                0.1,
                "How much the box goes beyond the keypoints on each side, of its longer side.",
                minimum=0,
            ),
        ],
    },
)


def read_keypoints(file: str) -> np.ndarray:
    """Read joints.mat.

    In the extended set it is (14, 3, N) with 1 for labeled keypoints, in the first one (3, 14, N)
    with 0 for labeled and visible ones.

    Returns:
        (N, 14, 3) x, y in pixels, and COCO's visibility.

    Raises:
        InputError: For another file.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        keypoints = loadmat(file)["joints"]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        EOFError,
        NotImplementedError,  # what scipy raises for files of MATLAB 7.3
        MatReadError,
        zlib.error,
    ) as error:
        raise InputError(f"{file}: not the joints.mat of Leeds Sports Pose ({error})") from error
    keypoints = np.asarray(keypoints)
    if (
        keypoints.ndim != 3
        or keypoints.shape[:2] not in ((14, 3), (3, 14))
        or keypoints.dtype.kind not in "iuf"
    ):
        raise InputError(
            f"{file}: joints is {keypoints.dtype} {keypoints.shape}, expected (14, 3, N) or (3, "
            "14, N) numbers"
        )
    extended = keypoints.shape[:2] == (14, 3)
    keypoints = np.moveaxis(keypoints if extended else keypoints.transpose(1, 0, 2), 2, 0).astype(
        np.float64
    )
    if not np.isfinite(keypoints).all() or not np.isin(keypoints[..., 2], (0, 1)).all():
        raise InputError(f"{file}: joints has other values than coordinates and 0 or 1")
    keypoints[..., 2] = keypoints[..., 2] * 2 if extended else 2 - keypoints[..., 2]
    return keypoints


def annotation(
    keypoints: np.ndarray, size: tuple[int, int], skeleton: Skeleton, margin: float
) -> dict | None:
    """Return the annotation of a person, or None without labeled keypoints.

    Keypoints outside the image are unlabeled, as in COCO. The box is around the keypoints, expanded
    by the margin, within the image; the area is that of the box, as there is no outline.

    Args:
        keypoints: (14, 3) x, y, visibility.
        size: (height, width) of the image.
        skeleton: Keypoints of the annotation.
        margin: Expansion of the box on each side, over its longer side.
    """
    height, width = size
    x, y, seen = keypoints.T
    seen = np.where((x >= 0) & (x < width) & (y >= 0) & (y < height), seen, 0)
    if not seen.any():
        return None
    labeled_rows = np.zeros((skeleton.num_keypoints, 3))
    for name, *keypoint in zip(ROWS, x, y, seen):
        if name in skeleton.keypoints and keypoint[2]:
            labeled_rows[skeleton.keypoints.index(name)] = keypoint
    labeled = np.stack([x, y], axis=1)[seen > 0]
    low, high = labeled.min(axis=0), labeled.max(axis=0)
    grow = max(margin * (high - low).max(), 1)
    low, high = np.maximum(low - grow, 0), np.minimum(high + grow, (width, height))
    box = [round(float(v), 2) for v in (*low, *(high - low))]
    return {
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "keypoints": [round(float(v), 2) for v in labeled_rows.ravel()],
        "num_keypoints": int((labeled_rows[:, 2] > 0).sum()),
        "iscrowd": 0,
    }


def main(options: Options) -> None:
    args = options.args
    keypoints = read_keypoints(args.joints)
    last = args.last or len(keypoints)
    if not args.first <= last <= len(keypoints):
        raise InputError(
            f"--first={args.first} --last={last}: {args.joints} holds images 1 to {len(keypoints)}"
        )
    skeleton = {"lsp": LSP, "coco": COCO}[args.skeleton]
    images, annotations, missing = [], [], []
    digits = 4 if (Path(args.images) / f"im{args.first:04d}.jpg").exists() else 5
    for i in range(args.first, last + 1):
        name = f"im{i:0{digits}d}.jpg"
        try:
            height, width = read_image_size(Path(args.images) / name)
        except FileNotFoundError:
            missing.append(name)
            continue
        person = annotation(keypoints[i - 1], (height, width), skeleton, args.margin)
        images.append({"id": i, "file_name": name, "height": height, "width": width})
        if person is not None:
            annotations.append({"id": i, "image_id": i, "category_id": 1, **person})
    if missing:
        raise InputError(
            f"{args.images}: {len(missing)} images are missing, the first is {missing[0]}"
        )
    labels = sum(a["num_keypoints"] for a in annotations)
    rows = [name in skeleton.keypoints for name in ROWS]
    outside = int((keypoints[args.first - 1 : last, rows, 2] > 0).sum()) - labels
    settings = {"first": args.first, "last": last, "margin": args.margin, "area": "of the box"}
    info = {"description": "Leeds Sports Pose in COCO's format, by tfcpn", "settings": settings}
    data = {
        "info": info,
        "images": images,
        "annotations": annotations,
        "categories": coco_categories(skeleton),
    }
    write_atomically(Path(args.output), json.dumps(data))
    print(
        f"{args.output}: {len(images)} images, {len(annotations)} people, {labels} labeled "
        "keypoints"
    )
    unlabeled = len(images) - len(annotations)
    if outside or unlabeled:
        print(
            f"left out: {outside} keypoints outside their image, {unlabeled} people without "
            "keypoints"
        )


if __name__ == "__main__":
    COMMAND.run(main)
