"""Convert MPII, YOLO-pose, Label Studio or CVAT annotations to COCO's format."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np

from tfcpn.cli import Command, Options, enum, path
from tfcpn.data.coco import coco_categories
from tfcpn.data.image_headers import read_image_size
from tfcpn.data.repair import box_about
from tfcpn.skeleton import (
    COCO,
    KNOWN_SKELETONS,
    Skeleton,
    from_names,
    is_same_keypoint,
    skeleton_from_flag,
)
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically
from tfcpn.utils.json_io import read_json

COMMAND = Command(
    "tfcpn data import",
    __doc__,
    {
        "Input": [
            path("images", None, "Folder of the images.", required=True),
            path(
                "source",
                "",
                "mpii: mpii_human_pose_v1_u12_1.mat; yolo: folder of label files, by default the "
                "images' path with labels in place of images; label_studio: its JSON export; cvat: "
                "the XML of CVAT for images.",
            ),
            path(
                "skeleton",
                "auto",
                "Keypoints and their order: a known definition or a .json file; auto: mpii for "
                "mpii, coco for yolo with 17 keypoints, else the names in the order of the file.",
            ),
            enum(
                "split",
                "train",
                ("train", "test", "all"),
                "mpii: which images; people of the test images have no keypoints.",
            ),
        ],
        "Output": [path("output", None, "Annotation file to write.", required=True)],
    },
    choices=("mpii", "yolo", "label_studio", "cvat"),
)
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class LabeledPerson(NamedTuple):
    """A person of another format.

    Attributes:
        points: Keypoint name -> x, y in pixels and COCO's visibility.
        box: x, y, width, height in pixels; None for a box about the keypoints.
    """

    points: dict[str, tuple[float, float, int]]
    box: tuple[float, float, float, float] | None = None


class LabeledImage(NamedTuple):
    """An image of another format: its name below the folder, and its people."""

    name: str
    people: list[LabeledPerson]


def read_mpii(file: str, split: str) -> Iterator[LabeledImage]:
    """Yield the images of MPII Human Pose with their people.

    Keypoints have ids 0 to 15 in the order of the skeleton mpii. Head top and upper neck have no
    visibility in the file and count as visible.

    Args:
        file: mpii_human_pose_v1_u12_1.mat.
        split: "train", "test" or "all".

    Raises:
        InputError: For another file.
    """
    from scipy.io import loadmat

    try:
        release = loadmat(file, struct_as_record=False, squeeze_me=True)["RELEASE"]
        images, is_train = np.atleast_1d(release.annolist), np.atleast_1d(release.img_train)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # scipy's errors on damaged files have no common class
        raise InputError(f"{file}: not the .mat file of MPII Human Pose ({error})") from error
    names = KNOWN_SKELETONS["mpii"].keypoints
    for image, train in zip(images, is_train):
        if split != "all" and bool(train) != (split == "train"):
            continue
        people = []
        for rectangle in np.atleast_1d(getattr(image, "annorect", [])):
            points = getattr(getattr(rectangle, "annopoints", None), "point", None)
            if points is None:
                continue
            found = {}
            for point in np.atleast_1d(points):
                seen = np.ravel(getattr(point, "is_visible", []))
                visible = not len(seen) or str(seen[0]) != "0"
                found[names[int(point.id)]] = (float(point.x), float(point.y), 1 + visible)
            people.append(LabeledPerson(found))
        yield LabeledImage(str(image.image.name), people)


def read_yolo(folder: Path, image_dir: Path, skeleton: Skeleton | None) -> Iterator[LabeledImage]:
    """Yield the images of a folder with the people of their YOLO-pose label files.

    A line has class, center x, center y, width and height of the box, and x, y, with or without
    visibility, of each keypoint; all over the image's size.

    Args:
        folder: Folder of the label files.
        image_dir: Folder of the images.
        skeleton: The keypoints; None: COCO's, of which there must be 17.

    Raises:
        InputError: Naming file and line.
    """
    skeleton = skeleton or COCO
    count = skeleton.num_keypoints
    for image in sorted(p for p in image_dir.rglob("*") if p.suffix.lower() in _IMAGES):
        name = image.relative_to(image_dir)
        file, people = folder / name.with_suffix(".txt"), []
        lines = file.read_text().splitlines() if file.exists() else []
        height, width = _size(image) if lines else (0, 0)
        for number, line in enumerate(lines, start=1):
            try:
                values = [float(word) for word in line.split()]
            except ValueError:
                values = [np.nan]
            if not values:
                continue
            if len(values) not in (5 + 2 * count, 5 + 3 * count) or not np.isfinite(values).all():
                raise InputError(
                    f"{file}: line {number} has {len(line.split())} values, expected class, box "
                    f"and {count} keypoints x 2 or 3 numbers; give the keypoints by --skeleton"
                )
            x, y, w, h = np.array(values[1:5]) * (width, height, width, height)
            rows = np.reshape(values[5:], (count, -1))
            # Without visibility, a keypoint at 0, 0 is not labeled.
            seen = rows[:, 2] if rows.shape[1] == 3 else 2 * rows.any(axis=1)
            if not np.isin(seen, (0, 1, 2)).all():
                odd = seen[~np.isin(seen, (0, 1, 2))][0]
                raise InputError(
                    f"{file}: line {number}: a keypoint has visibility {odd:g}, expected 0, 1 or "
                    "2; confidences of a network are not labels"
                )
            points = {
                keypoint: (row[0] * width, row[1] * height, int(v))
                for keypoint, row, v in zip(skeleton.keypoints, rows, seen)
            }
            people.append(LabeledPerson(points, (x - w / 2, y - h / 2, w, h)))
        yield LabeledImage(str(name), people)


def read_label_studio(file: str, image_dir: Path) -> Iterator[LabeledImage]:
    """Yield the images of Label Studio's own JSON export with their people.

    Keypoints belong to the rectangle that is their parent, that they have a relation to, or that
    contains them; without rectangles, all of an image are one person.

    Raises:
        InputError: For another file.
    """
    tasks = read_json(file)
    if not isinstance(tasks, list) or not all(
        isinstance(task, dict) and isinstance(task.get("annotations"), list) for task in tasks
    ):
        raise InputError(f"{file}: not a JSON export of Label Studio")
    for number, task in enumerate(tasks):
        try:
            data = task["data"]
            address = next(data[k] for k in ("img", "image", *data) if isinstance(data.get(k), str))
            answers = [a for a in task["annotations"] if not a.get("was_cancelled")]
            people = _people_of_regions(answers[-1]["result"]) if answers else []
        except (LookupError, TypeError, StopIteration, AttributeError, ValueError) as error:
            raise InputError(f"{file}: task number {number}: {error!r} is unexpected") from error
        yield LabeledImage(_local_name(address, image_dir), people)


def _local_name(address: str, image_dir: Path) -> str:
    """Return the name below the folder of an address such as /data/upload/4/ab12-1.jpg."""
    parts = [p for p in re.split(r"[/\\]|\?d=", unquote(address)) if p]
    for start in range(len(parts)):
        name = "/".join(parts[start:])
        if ".." not in parts[start:] and (image_dir / name).is_file():
            return name
    return parts[-1] if parts else address


def _people_of_regions(regions: list[dict]) -> list[LabeledPerson]:
    """Return the people of the regions of an annotation of Label Studio; sizes are in percent."""
    boxes, owners, points = {}, {}, {}
    for region in regions:
        if region["type"] == "relation":
            owners[region["from_id"]] = region["to_id"]
            owners.setdefault(region["to_id"], region["from_id"])
            continue
        if region["type"] not in ("rectanglelabels", "keypointlabels"):
            continue  # polygons, choices and text say nothing about keypoints
        value = region["value"]
        scale = np.array([region["original_width"], region["original_height"]]) / 100
        x, y = np.array([value["x"], value["y"]], float) * scale
        if region["type"] == "rectanglelabels":
            w, h = np.array([value["width"], value["height"]], float) * scale
            boxes[region["id"]] = (float(x), float(y), float(w), float(h))
        else:
            points[region["id"]] = (value["keypointlabels"][0], float(x), float(y))
            if region.get("parentID"):
                owners[region["id"]] = region["parentID"]
    groups: dict[object, dict[str, tuple[float, float, int]]] = {key: {} for key in boxes}
    for key, (name, x, y) in points.items():
        owner = owners.get(key)
        if owner not in boxes:
            inside = [
                (w * h, box)
                for box, (left, top, w, h) in boxes.items()
                if left <= x <= left + w and top <= y <= top + h and name not in groups[box]
            ]
            owner = min(inside)[1] if inside else None
        group = groups.setdefault(owner, {})
        if name in group:
            raise ValueError(f"{name} twice for one person: use rectangles or relations")
        group[name] = (x, y, 2)
    return [LabeledPerson(group, boxes.get(key)) for key, group in groups.items()]


def read_cvat(file: str) -> Iterator[LabeledImage]:
    """Yield the images of CVAT's XML with the people of their skeletons.

    Points that are outside are not labeled, occluded ones have visibility 1.

    Raises:
        InputError: For another file.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ElementTree.ParseError as error:
        raise InputError(f"{file}: not valid XML ({error})") from error
    images = root.findall("image")
    if not images:
        hint = "; export as CVAT for images" if root.find("track") is not None else ""
        raise InputError(f"{file}: has no images of CVAT{hint}")
    for image in images:
        people = []
        for skeleton in image.findall("skeleton"):
            points = {}
            for point in skeleton.findall("points"):
                try:
                    x, y = (float(v) for v in point.attrib["points"].split(";")[0].split(","))
                    name = point.attrib["label"]
                except (KeyError, ValueError) as error:
                    raise InputError(
                        f"{file}: image {image.get('name')!r}: a point of a skeleton has no label "
                        "or coordinates"
                    ) from error
                if point.get("outside", "0") == "0":
                    points[name] = (x, y, 2 - (point.get("occluded", "0") == "1"))
            people.append(LabeledPerson(points))
        yield LabeledImage(image.get("name", ""), people)


def _size(file: Path) -> tuple[int, int]:
    try:
        return read_image_size(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error


def _skeleton_of(images: list[LabeledImage], wanted: Skeleton | None) -> Skeleton:
    """Return the keypoints: the wanted ones, or those of the file in order of appearance.

    Raises:
        InputError: If the file has no keypoint, or none of the wanted ones.
    """
    names = list(dict.fromkeys(n for image in images for p in image.people for n in p.points))
    if not names:
        raise InputError("there is no person with keypoints in it")
    if wanted is None:
        return from_names("person", tuple(names))
    unknown = [n for n in names if not any(is_same_keypoint(n, k) for k in wanted.keypoints)]
    if len(unknown) == len(names):
        raise InputError(f"its keypoints are {', '.join(names)}, none of {wanted.name!r}")
    if unknown:
        print(f"not in {wanted.name!r}, left out: {', '.join(unknown)}")
    return wanted


def to_coco(images: list[LabeledImage], skeleton: Skeleton, image_dir: Path) -> dict:
    """Return images and people in COCO's format; sizes are read from the files."""
    records, annotations, missing = [], [], []
    with progress_bar(len(images), "images", "image") as bar:
        for number, image in enumerate(images, start=1):
            bar.update()
            try:
                height, width = read_image_size(image_dir / image.name)
            except OSError:
                missing.append(image.name)
                continue
            size = {"height": height, "width": width}
            records.append({"id": number, "file_name": image.name, **size})
            for person in image.people:
                record = _annotation(person, skeleton, (height, width))
                ids = {"id": len(annotations) + 1, "image_id": number, "category_id": 1}
                annotations.append({**ids, **record})
    if missing:
        print(f"left out: {len(missing)} images that are not in {image_dir}, such as {missing[0]}")
    if not annotations:
        raise InputError(f"--images={image_dir}: holds none of the images with people")
    categories = coco_categories(skeleton)
    return {"images": records, "annotations": annotations, "categories": categories}


def _annotation(person: LabeledPerson, skeleton: Skeleton, size: tuple[int, int]) -> dict:
    keypoints = np.zeros((skeleton.num_keypoints, 3))
    for name, row in person.points.items():
        same = [i for i, k in enumerate(skeleton.keypoints) if is_same_keypoint(name, k)]
        exact = [i for i in same if skeleton.keypoints[i] == name]
        if same and row[2]:
            keypoints[(exact or same)[0]] = row
    seen = keypoints[:, 2] > 0
    box = person.box
    if box is None:
        box = box_about(keypoints[seen, :2], size) if seen.any() else (0, 0, 0, 0)
    return {
        "bbox": [round(float(v), 2) for v in box],
        "area": round(float(box[2] * box[3]), 2),
        "keypoints": [round(float(v), 2) for v in keypoints.ravel()],
        "num_keypoints": int(seen.sum()),
        "iscrowd": 0,
    }


def main(options: Options) -> None:
    args, (form,) = options.args, options.positional
    image_dir = Path(args.images)
    if not image_dir.is_dir():
        raise InputError(f"--images={image_dir}: no such folder")
    if "split" in options.explicit and form != "mpii":
        raise InputError("--split is of mpii")
    skeleton = skeleton_from_flag(args.skeleton)
    if not args.source and form != "yolo":
        raise InputError(f"--source is missing; see {COMMAND.program} --help")
    if form == "mpii":
        images = read_mpii(args.source, args.split)
        skeleton = skeleton or KNOWN_SKELETONS["mpii"]
    elif form == "yolo":
        folder = Path(args.source or _label_folder(image_dir))
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of labels; give --source")
        images, skeleton = read_yolo(folder, image_dir, skeleton), skeleton or COCO
    elif form == "label_studio":
        images = read_label_studio(args.source, image_dir)
    else:
        images = read_cvat(args.source)
    found = list(images)
    try:
        skeleton = _skeleton_of(found, skeleton)
    except InputError as error:
        raise InputError(f"{args.source or args.images}: {error}") from error
    data = to_coco(found, skeleton, image_dir)
    write_atomically(Path(args.output), json.dumps(data))
    labels = sum(a["num_keypoints"] for a in data["annotations"])
    print(
        f"written: {args.output}, {len(data['images'])} images, {len(data['annotations'])} people, "
        f"{labels} labeled keypoints of {skeleton.name!r}"
    )
    print(f"tfcpn data check {args.output} --images={image_dir} shows them")


def _label_folder(image_dir: Path) -> Path:
    """Return the folder in which Ultralytics looks for labels: labels in place of images."""
    parts = list(image_dir.parts)
    if "images" not in parts:
        return image_dir
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


if __name__ == "__main__":
    COMMAND.run(main)
