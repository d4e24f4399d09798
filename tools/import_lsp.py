"""Turn Leeds Sports Pose, or its extended set, as published into COCO's annotation format."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.data.coco import categories
from tfcpn.data.pictures import picture_size
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, number, path, whole
from tfcpn.skeleton import COCO, LSP, Skeleton

# The order of the rows of joints.mat, in both archives.
ROWS = LSP.joints
COMMAND = Command(
    "python tools/import_lsp.py",
    __doc__,
    {
        "Archive": [
            path("images", None, "Folder of im0001.jpg (or im00001.jpg) and so on.", required=True),
            path("joints", None, "The archive's joints.mat.", required=True),
            whole("first", 1, "Number of the first picture.", least=1),
            whole("last", 0, "Number of the last picture; 0: of the last one that there is.", least=0),
        ],
        "Output": [
            path("output", None, "Annotation file to write.", required=True),
            choice("joint_set", "lsp", ("lsp", "coco"), "LSP's 14 joints, or COCO's 17 with the face unlabelled."),
            number(
                "margin", 0.1, "How much the box goes beyond the joints on each side, of its longer side.", least=0
            ),
        ],
    },
)


def read_joints(file: str) -> np.ndarray:
    """joints.mat as (N, 14, 3): x, y in pixels, and COCO's visibility. Raises InputError.

    The extended set is (14, 3, N), whose third number is 1 for a joint that is labelled. The first set is (3, 14, N),
    where every joint is labelled and the third number is 1 for an occluded one.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        joints = loadmat(file)["joints"]
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
    joints = np.asarray(joints)
    if joints.ndim != 3 or joints.shape[:2] not in ((14, 3), (3, 14)) or joints.dtype.kind not in "iuf":
        raise InputError(f"{file}: joints is {joints.dtype} {joints.shape}, want (14, 3, N) or (3, 14, N) numbers")
    extended = joints.shape[:2] == (14, 3)
    joints = np.moveaxis(joints if extended else joints.transpose(1, 0, 2), 2, 0).astype(np.float64)
    if not np.isfinite(joints).all() or not np.isin(joints[..., 2], (0, 1)).all():
        raise InputError(f"{file}: joints holds something else than coordinates and 0 or 1")
    joints[..., 2] = joints[..., 2] * 2 if extended else 2 - joints[..., 2]
    return joints


def annotation(joints: np.ndarray, size: tuple[int, int], skeleton: Skeleton, margin: float) -> dict | None:
    """The record of one person, (14, 3) joints in a picture of (height, width); None if nothing is labelled.

    Joints outside the picture are not labelled, as in COCO. The box goes around the joints with the margin, within
    the picture; the area is that of the box, for want of an outline.
    """
    height, width = size
    x, y, seen = joints.T
    seen = np.where((x >= 0) & (x < width) & (y >= 0) & (y < height), seen, 0)
    if not seen.any():
        return None
    keypoints = np.zeros((skeleton.count, 3))
    for name, *joint in zip(ROWS, x, y, seen):
        if name in skeleton.joints and joint[2]:
            keypoints[skeleton.joints.index(name)] = joint
    labelled = np.stack([x, y], axis=1)[seen > 0]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    grow = max(margin * (high - low).max(), 1)
    low, high = np.maximum(low - grow, 0), np.minimum(high + grow, (width, height))
    box = [round(float(v), 2) for v in (*low, *(high - low))]
    return {
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "keypoints": [round(float(v), 2) for v in keypoints.ravel()],
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "iscrowd": 0,
    }


def main(options: Options) -> None:
    own = options.own
    joints = read_joints(own.joints)
    last = own.last or len(joints)
    if not own.first <= last <= len(joints):
        raise InputError(f"--first={own.first} --last={last}: {own.joints} holds pictures 1 to {len(joints)}")
    skeleton = {"lsp": LSP, "coco": COCO}[own.joint_set]
    images, annotations, missing = [], [], []
    digits = 4 if (Path(own.images) / f"im{own.first:04d}.jpg").exists() else 5
    for i in range(own.first, last + 1):
        name = f"im{i:0{digits}d}.jpg"
        try:
            height, width = picture_size(Path(own.images) / name)
        except FileNotFoundError:
            missing.append(name)
            continue
        person = annotation(joints[i - 1], (height, width), skeleton, own.margin)
        images.append({"id": i, "file_name": name, "height": height, "width": width})
        if person is not None:
            annotations.append({"id": i, "image_id": i, "category_id": 1, **person})
    if missing:
        raise InputError(f"{own.images}: {len(missing)} pictures are missing, the first is {missing[0]}")
    labels = sum(a["num_keypoints"] for a in annotations)
    rows = [name in skeleton.joints for name in ROWS]
    outside = int((joints[own.first - 1 : last, rows, 2] > 0).sum()) - labels
    settings = {"first": own.first, "last": last, "margin": own.margin, "area": "of the box"}
    info = {"description": "Leeds Sports Pose in COCO's format, by tfcpn", "settings": settings}
    data = {"info": info, "images": images, "annotations": annotations, "categories": categories(skeleton)}
    write_atomically(Path(own.output), json.dumps(data))
    print(f"{own.output}: {len(images)} pictures, {len(annotations)} people, {labels} labelled joints")
    nobody = len(images) - len(annotations)
    if outside or nobody:
        print(f"left out: {outside} joints outside their picture, {nobody} people without joints")


if __name__ == "__main__":
    COMMAND.run(main)
