"""Check an annotation file, and draw some of its people."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, integer, path
from tfcpn.data.coco import Annotations, parse_annotations, read_clean_file
from tfcpn.data.findings import AS_STORED, Findings
from tfcpn.data.images import ImageFile, find_image
from tfcpn.data.repair import CleanFile
from tfcpn.skeleton import KNOWN_SKELETONS, limitations, skeleton_from_flag
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.visualization import check_name, draw_annotated, load_coco_image, sheet, write_image

COMMAND = Command(
    "tfcpn data check",
    __doc__,
    {
        "What": [
            path("images", "", "Folder of its images; without it, images are not looked at."),
            *ANNOTATION_FLAGS,
        ],
        "Image": [
            path("output", "annotations.png", "Image to write with some people, .png or .jpg."),
            integer("count", 8, "Images on it, evenly spread over the file.", minimum=1),
        ],
    },
    positional="FILE",
)
_MAX_LINES = 20  # errors that are printed


def summary(clean: CleanFile, annotations: Annotations) -> Iterator[str]:
    """Yield lines about the images, people and keypoints of a file."""
    people, skeleton = annotations.people, annotations.skeleton
    labeled = [p for p in people if p.trainable]
    sizes = sorted((i.height, i.width) for i in annotations.images.values() if i.height)
    height, width = sizes[len(sizes) // 2] if sizes else (0, 0)
    of_size = f"median {width} x {height} pixels (width x height)" if sizes else "of unknown size"
    yield f"images     {len(annotations.images)}, {of_size}"
    crowds = sum(p.crowd for p in people)
    yield f"people     {len(people)}, {len(labeled)} with labeled keypoints, {crowds} crowds"
    known = "known as" if skeleton.name in KNOWN_SKELETONS else "named"
    yield (
        f"keypoints  {skeleton.num_keypoints}, {known} {skeleton.name!r}; "
        f"{len(skeleton.pairs)} left/right pairs, {len(skeleton.limbs)} limbs"
    )
    if labeled:
        seen = np.mean([p.keypoints[:, 2] > 0 for p in labeled], axis=0)
        rare = [
            f"{name} {share:.0%}" for name, share in zip(skeleton.keypoints, seen) if share < 0.05
        ]
        yield f"labeled    {seen.mean():.0%} of the keypoints of these people"
        if rare:
            yield f"           rarely or never: {', '.join(rare[:10])}"
    for line in limitations(skeleton):
        yield f"           {line}"


def check_images(
    annotations: Annotations, image_dir: str, findings: Findings
) -> tuple[list[int], list[str]]:
    """Compare the headers of all annotated images with the file.

    Args:
        annotations: The content of the file.
        image_dir: Folder of the images.
        findings: Gets the images that were annotated as stored.

    Returns:
        Ids of the images that fit, and the errors of the others.
    """

    def check(image_id: int) -> ImageFile | InputError:
        try:
            return find_image(image_dir, annotations.images[image_id])
        except InputError as error:
            return error

    ids = list(dict.fromkeys(p.image_id for p in annotations.people))
    ids = [image_id for image_id in ids if image_id in annotations.images]
    good, errors = [], []
    with ThreadPoolExecutor(8) as pool, progress_bar(len(ids), "headers", "image") as bar:
        for image_id, found in zip(ids, pool.map(check, ids)):
            bar.update()
            if isinstance(found, InputError):
                errors.append(str(found))
                continue
            good.append(image_id)
            if found.annotated_as_stored:
                findings.add(AS_STORED, f"image {annotations.images[image_id].file_name!r}")
    return good, errors


def draw(
    annotations: Annotations, image_dir: str, image_ids: list[int], count: int, output: str
) -> None:
    """Draw the people of some images, evenly spread over the file."""
    labeled = {p.image_id for p in annotations.people if p.trainable}
    chosen = [image_id for image_id in image_ids if image_id in labeled]
    if not chosen:
        return
    chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, count).astype(int))]
    cells = []
    for image_id in chosen:
        try:
            pixels = load_coco_image(image_dir, annotations.images[image_id])
        except InputError as error:
            print(f"not drawn: {error}")
            continue
        people = [p for p in annotations.people if p.image_id == image_id]
        draw_annotated(pixels, people, annotations.skeleton)
        cells.append(pixels)
    if cells:
        write_image(output, sheet(cells, min(4, len(cells)), (300, 340)))
        print(f"written: {output}, {len(cells)} images")


def main(options: Options) -> None:
    args = options.args
    if len(options.positional) != 1:
        raise InputError(f"expected one annotation file; see {COMMAND.program} --help")
    file = options.positional[0]
    check_name(args.output)
    if args.images and not Path(args.images).is_dir():
        raise InputError(f"--images={args.images}: no such folder")
    clean = read_clean_file(
        file,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=args.images or None,
        categories=args.category,
    )
    problems: list[str] = []
    annotations, findings = parse_annotations(clean, file, problems=problems), clean.findings
    good: list[int] = []
    if args.images:
        good, errors = check_images(annotations, args.images, findings)
        problems += errors
    print(file)
    for line in summary(clean, annotations):
        print(f"  {line}")
    sections = {
        "note": findings.notes,
        "repair": findings.lines(suspicious=False),
        "check": findings.lines(suspicious=True),
        "error": problems[:_MAX_LINES],
    }
    for title, lines in sections.items():
        for line in lines:
            print(f"{title}: {line}")
    if len(problems) > _MAX_LINES:
        print(f"error: {len(problems) - _MAX_LINES} more")
    if args.images:
        draw(annotations, args.images, good, args.count, args.output)
    else:
        print("no --images: files were not looked at, and no people drawn")
    if problems:
        raise InputError(f"{file}: errors that need to be corrected: {len(problems)}")
    if args.strict and findings.counts:
        raise InputError(f"{file}: --strict: {sum(findings.counts.values())} findings")
    if not any(sections.values()):
        print("nothing to repair and nothing that looks wrong")


if __name__ == "__main__":
    COMMAND.run(main)
