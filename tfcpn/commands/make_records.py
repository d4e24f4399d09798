"""Pack images and annotations into TFRecord shards, in parallel and resumably."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from tfcpn.cli import ANNOTATION_FLAGS, Command, Options, boolean, integer, path
from tfcpn.data import record_format
from tfcpn.data.coco import CocoImage, PersonAnnotation, read_annotations
from tfcpn.data.images import report_as_stored
from tfcpn.data.record_format import RecordIndex, Shard
from tfcpn.skeleton import limitations, skeleton_from_flag, to_dict
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import remove_stale_temp, write_atomically

COMMAND = Command(
    "python tools/make_records.py",
    __doc__,
    {
        "Input and output": [
            path("annotations", None, "COCO person_keypoints JSON file.", required=True),
            path("images", None, "Folder of its images.", required=True),
            path("output", None, "Folder for the records.", required=True),
            *ANNOTATION_FLAGS,
            integer("shards", 64, "Number of record files; at least 16 mix well.", minimum=1),
        ],
        "Work": [
            integer("workers", os.cpu_count() or 1, "Number of processes.", minimum=1),
            boolean(
                "skip_bad",
                False,
                "Skip images that are missing, unreadable or of another size.",
            ),
        ],
    },
)

BAD_LIST = "bad_images.txt"
SOURCE = "source.json"  # fingerprint of the input, written first


def _shard_items(
    images: dict[int, CocoImage], people: list[PersonAnnotation], shards: int
) -> list[list]:
    """Assign the images that have people to shards, independently of the number of workers."""
    by_image: dict[int, list[PersonAnnotation]] = {}
    for person in people:
        by_image.setdefault(person.image_id, []).append(person)
    items = [(images[i], by_image[i]) for i in images if i in by_image]
    return [items[n::shards] for n in range(min(shards, len(items)))]


def _claim(output: Path, source: dict) -> None:
    """Raise InputError unless the folder is new or has records of the same input."""
    plan = output / SOURCE
    try:
        other = plan.exists() and json.loads(plan.read_text()) != source
    except ValueError:
        other = True
    if other:
        raise InputError(
            f"{output} holds records of other annotations, keypoints or --shards, or of an older "
            "tfcpn; give another --output or delete it"
        )


def _finished(
    path: Path, items: list, image_dir: Path, *, skip_bad: bool, strict: bool
) -> Shard | None:
    """Return the shard of an earlier run, if it need not be made again.

    Without skip_bad, images that an earlier run skipped are read again; with strict, those that are
    annotated as stored in the file.

    Raises:
        InputError: If it was made of other images.
    """
    shard = record_format.load_finished_shard(path)
    if shard is None or (shard.bad and not skip_bad) or (strict and shard.annotated_as_stored):
        return None
    good = [image.file_name for image, _ in items if image.file_name not in shard.bad]
    if record_format.files_digest(image_dir, good) not in (shard.files_digest, None):
        raise InputError(
            f"{path} was made of other images than those in {image_dir}; give another --output or "
            "delete the folder"
        )
    return shard


def _already_there(output: Path, finished: list[Shard | None]) -> RecordIndex | None:
    """Return the index of the folder if it is complete and of these shards, else None."""
    try:
        index = record_format.read_index(output)
    except InputError:
        return None  # a shard is missing or cut short: it is made again
    return index if list(index.shards) == finished else None


def main(options: Options) -> None:
    from tfcpn.data.record_writer import write_shards  # imports TensorFlow

    args = options.args
    image_dir, output = Path(args.images), Path(args.output)
    if not image_dir.is_dir():
        raise InputError(f"--images={image_dir}: no such folder")
    images, people, skeleton, *_ = read_annotations(
        args.annotations,
        expected=skeleton_from_flag(args.skeleton),
        convert=True,
        image_dir=image_dir,
        categories=args.category,
        strict=args.strict,
    )
    for limit in limitations(skeleton):
        print(f"keypoints {skeleton.name!r}: {limit}")
    digest = hashlib.sha256(Path(args.annotations).read_bytes()).hexdigest()
    keypoints = hashlib.sha256(json.dumps(to_dict(skeleton)).encode()).hexdigest()
    source = {"annotations_sha256": digest, "skeleton_sha256": keypoints, "shards": args.shards}
    if args.category:
        source["categories"] = sorted(args.category)
    source["version"] = record_format.VERSION
    _claim(output, source)
    shards = _shard_items(images, people, args.shards)
    paths = [output / f"people-{n:05d}-of-{len(shards):05d}.tfrecord" for n in range(len(shards))]
    finished = {
        path: _finished(path, items, image_dir, skip_bad=args.skip_bad, strict=args.strict)
        for path, items in zip(paths, shards)
    }
    index = _already_there(output, list(finished.values()))
    if index is not None:
        left_out = sum(len(s.bad) for s in index.shards)
        print(
            f"{output}: already there, nothing to do"
            + (f" ({left_out} bad images were left out)" if left_out else "")
        )
        return
    (output / record_format.INDEX).unlink(missing_ok=True)
    remove_stale_temp(output)
    todo = {path: items for path, items in zip(paths, shards) if finished[path] is None}
    write_atomically(output / SOURCE, json.dumps(source))
    if len(todo) < len(paths):
        print(f"{output}: resuming, {len(paths) - len(todo)} of {len(paths)} shards are finished")
    written = (
        write_shards(todo, image_dir, args.workers, args.skip_bad, args.strict) if todo else []
    )

    all_shards = [s for s in finished.values() if s is not None] + written
    all_shards.sort(key=lambda s: s.file)
    report_as_stored(sum(s.annotated_as_stored for s in all_shards), args.annotations)
    bad = [message for shard in all_shards for message in shard.bad.values()]
    if bad:
        write_atomically(output / BAD_LIST, "\n".join(bad) + "\n")
        print("\n".join(bad[:20]) + (f"\n... and {len(bad) - 20} more" if len(bad) > 20 else ""))
        if not args.skip_bad:
            raise InputError(
                f"{len(bad)} of {sum(map(len, shards))} images are bad, listed in "
                f"{output / BAD_LIST}: fix them and "
                "run again (finished shards are kept), or give --skip_bad to leave them out"
            )
    else:
        (output / BAD_LIST).unlink(missing_ok=True)
    record_format.write_index(output, RecordIndex(source, skeleton, tuple(all_shards)))
    print(
        f"{output}: {sum(s.images for s in all_shards)} images, "
        f"{sum(s.people for s in all_shards)} people, {sum(s.trainable for s in all_shards)} to "
        f"train on, in {len(all_shards)} shards; {len(images) - sum(map(len, shards))} images "
        f"without people and {len(bad)} bad ones left out"
    )


if __name__ == "__main__":
    COMMAND.run(main)
