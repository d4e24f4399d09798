"""Pack COCO images and their people into TFRecord shards: in parallel, checked, and resumable by shard."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from absl import flags

from tfcpn import command_line, records
from tfcpn.coco import CocoImage, Person, read_annotations
from tfcpn.errors import InputError
from tfcpn.files import write_atomically
from tfcpn.record_workers import write_shards

FLAGS = flags.FLAGS
flags.DEFINE_string("annotations", None, "COCO person_keypoints JSON file.")
flags.DEFINE_string("images", None, "Folder of its images.")
flags.DEFINE_string("output", None, "Folder for the records.")
flags.DEFINE_integer("shards", 64, "Number of record files; at least 16 mix well.", lower_bound=1)
flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes.", lower_bound=1)
flags.DEFINE_bool("skip_bad", False, "Leave out images that are missing, unreadable or of another size.")
GROUPS = {"Input and output": ["annotations", "images", "output", "shards"], "How": ["workers", "skip_bad"]}

BAD_LIST = "bad_images.txt"
SOURCE = "source.json"  # fingerprint of the input, written first


def _shard_items(images: dict[int, CocoImage], people: list[Person], shards: int) -> list[list]:
    """Deal the images that have people to the shards; an image keeps its place whatever the number of workers."""
    by_image: dict[int, list[Person]] = {}
    for person in people:
        by_image.setdefault(person.image_id, []).append(person)
    items = [(images[i], by_image[i]) for i in images if i in by_image]
    return [items[n::shards] for n in range(min(shards, len(items)))]


def _claim(output: Path, source: dict, skip_bad: bool) -> records.Index | None:
    """The finished index of the same input, else None. Raises InputError if the folder holds another input's."""
    plan = output / SOURCE
    finished = output / records.INDEX
    try:
        other = plan.exists() and json.loads(plan.read_text()) != source
    except ValueError:
        other = True
    if other:
        raise InputError(
            f"{output} holds records of other annotations, another --shards or an older tfcpn; give another --output "
            "or delete it"
        )
    if finished.exists():
        try:
            index = records.read_index(output)
            if skip_bad or not any(shard.bad for shard in index.shards):
                return index
        except InputError:
            pass  # a shard is missing or cut short: it is made again
        finished.unlink()
    for leftover in output.glob(".*.tmp"):
        leftover.unlink()
    return None


def main() -> None:
    for name in ("annotations", "images", "output"):
        if not FLAGS[name].value:
            raise InputError(f"--{name} is missing; see python tools/make_records.py --help")
    image_dir, output = Path(FLAGS.images), Path(FLAGS.output)
    images, people = read_annotations(FLAGS.annotations)
    if not image_dir.is_dir():
        raise InputError(f"--images={image_dir}: no such folder")
    digest = hashlib.sha256(Path(FLAGS.annotations).read_bytes()).hexdigest()
    source = {"annotations_sha256": digest, "shards": FLAGS.shards, "version": records.VERSION}
    index = _claim(output, source, FLAGS.skip_bad)
    if index is not None:
        left_out = sum(len(s.bad) for s in index.shards)
        print(
            f"{output}: already there, nothing to do"
            + (f" ({left_out} bad images were left out)" if left_out else "")
        )
        return

    shards = _shard_items(images, people, FLAGS.shards)
    paths = [output / f"people-{n:05d}-of-{len(shards):05d}.tfrecord" for n in range(len(shards))]
    finished = {path: records.finished_shard(path) for path in paths}
    if not FLAGS.skip_bad:
        # What an earlier --skip_bad left out may have been mended, and must be told about if not.
        finished = {path: shard if shard is None or not shard.bad else None for path, shard in finished.items()}
    todo = {path: items for path, items in zip(paths, shards) if finished[path] is None}
    write_atomically(output / SOURCE, json.dumps(source))
    if len(todo) < len(paths):
        print(f"{output}: going on, {len(paths) - len(todo)} of {len(paths)} shards are there")
    written = write_shards(todo, image_dir, FLAGS.workers, FLAGS.skip_bad) if todo else []

    all_shards = [s for s in finished.values() if s is not None] + written
    all_shards.sort(key=lambda s: s.file)
    bad = [message for shard in all_shards for message in shard.bad]
    if bad:
        write_atomically(output / BAD_LIST, "\n".join(bad) + "\n")
        print("\n".join(bad[:20]) + (f"\n... and {len(bad) - 20} more" if len(bad) > 20 else ""))
        if not FLAGS.skip_bad:
            raise InputError(
                f"{len(bad)} of {sum(map(len, shards))} images are bad, listed in {output / BAD_LIST}: mend them and "
                "run again (finished shards are kept), or give --skip_bad to leave them out"
            )
    else:
        (output / BAD_LIST).unlink(missing_ok=True)
    records.write_index(output, records.Index(source, tuple(all_shards)))
    print(
        f"{output}: {sum(s.images for s in all_shards)} images, {sum(s.people for s in all_shards)} people, "
        f"{sum(s.trainable for s in all_shards)} to train on, in {len(all_shards)} shards; "
        f"{len(images) - sum(map(len, shards))} images without people and {len(bad)} bad ones left out"
    )


if __name__ == "__main__":
    command_line.run(main, "python tools/make_records.py", __doc__, GROUPS)
