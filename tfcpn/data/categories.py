"""The categories of an annotation file whose annotations are people, and their keypoints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tfcpn.data.findings import LIMBS, LIMBS_FROM_0, Findings, listed
from tfcpn.skeleton import (
    COCO,
    KNOWN_SKELETONS,
    Skeleton,
    from_category,
    match_keypoints,
    same_keypoints,
)
from tfcpn.utils.errors import InputError
from tfcpn.utils.json_io import is_int

PERSON_CATEGORY_ID = 1  # COCO's id of the category person


class ChosenCategories(NamedTuple):
    """The categories whose annotations are people.

    Attributes:
        ids: Their ids.
        skeleton: Their keypoints.
        all_ids: Ids of all categories of the file; None if it has none.
    """

    ids: frozenset[int]
    skeleton: Skeleton
    all_ids: frozenset[int] | None


def choose_categories(
    data: dict, path, expected: Skeleton | None, wanted: Sequence[str], findings: Findings
) -> ChosenCategories:
    """Return the categories whose annotations are people, and their keypoints."""
    annotations = [a for a in data.get("annotations", []) if isinstance(a, dict)]
    if not data.get("categories"):
        if "categories" in data and not isinstance(data["categories"], list):
            raise InputError(f"{path}: categories is no list of objects, each with an id")
        if "categories" not in data:
            used = {a["category_id"] for a in annotations if is_int(a.get("category_id"))}
            ids = {PERSON_CATEGORY_ID} if PERSON_CATEGORY_ID in used or not used else used
            return ChosenCategories(frozenset(ids), expected or COCO, None)
        return _without_names(annotations, path, expected, frozenset(), findings)
    listed = data["categories"]
    if not isinstance(listed, list) or not all(
        isinstance(c, dict) and is_int(c.get("id")) for c in listed
    ):
        raise InputError(f"{path}: categories is no list of objects, each with an id")
    all_ids = frozenset(c["id"] for c in listed)
    counts = Counter(a["category_id"] for a in annotations if is_int(a.get("category_id")))
    if wanted:
        listed = _wanted_categories(listed, path, wanted, counts)
    named = [c for c in listed if c.get("keypoints")]
    if not named:
        return _without_names(annotations, path, expected, all_ids, findings)
    groups: dict[str, list[dict]] = {}
    for category in named:
        groups.setdefault(json.dumps(category["keypoints"]), []).append(category)
    group = _choose_group(list(groups.values()), path, expected, counts)
    try:
        skeleton = _category_skeleton(group[0], findings)
    except ValueError as error:
        raise InputError(f"{path}: category id {group[0]['id']}: {error}") from error
    ids = frozenset(c["id"] for c in group)
    if len(group) > 1:
        findings.notes.append(
            f"{len(group)} categories with the same keypoints count together: "
            + _category_counts(group, counts)
        )
    others = [c for c in data["categories"] if c["id"] not in ids and counts[c["id"]]]
    if others:
        findings.notes.append(
            f"annotations of other categories are skipped: {_category_counts(others, counts)}"
        )
    return ChosenCategories(ids, skeleton, all_ids)


def _category_counts(categories: list[dict], counts: Counter) -> str:
    return listed([f"{c.get('name', c['id'])} {counts[c['id']]}" for c in categories])


def _wanted_categories(listed: list, path, wanted: Sequence[str], counts: Counter) -> list[dict]:
    for word in wanted:
        if not any(word in (str(c.get("name")), str(c["id"])) for c in listed):
            raise InputError(
                f"{path}: --category={word}: there is no such category; there are "
                + _category_counts(listed, counts)
            )
    return [c for c in listed if str(c.get("name")) in wanted or str(c["id"]) in wanted]


def _choose_group(
    groups: list[list[dict]], path, expected: Skeleton | None, counts: Counter
) -> list[dict]:
    """Return the categories to use, of several groups with the same keypoints."""
    if len(groups) == 1:
        return groups[0]
    if expected is not None:
        fitting = [
            g
            for g in groups
            if isinstance(g[0]["keypoints"], list)
            and all(isinstance(name, str) for name in g[0]["keypoints"])
            and same_keypoints(g[0]["keypoints"], expected.keypoints)
        ]
        if len(fitting) == 1:
            return fitting[0]
    used = [g for g in groups if any(counts[c["id"]] for c in g)]
    if len(used) == 1:
        return used[0]
    everything = [c for g in groups for c in g]
    raise InputError(
        f"{path}: its categories have different keypoints ({_category_counts(everything, counts)} "
        "annotations): choose by --category=NAME, or by --skeleton"
    )


def _without_names(
    annotations: list[dict],
    path,
    expected: Skeleton | None,
    all_ids: frozenset[int],
    findings: Findings,
) -> ChosenCategories:
    """Return the choice where no category names its keypoints."""
    labeled = [a for a in annotations if isinstance(a.get("keypoints"), list) and a["keypoints"]]
    ids = frozenset(a["category_id"] for a in labeled if is_int(a.get("category_id")))
    ids = ids or frozenset([PERSON_CATEGORY_ID])
    if not labeled:
        # COCO's lists of test images have the categories of its detection task.
        if annotations:
            raise InputError(
                f"{path}: none of its categories has keypoints, and no annotation either; expected "
                "a COCO person_keypoints file"
            )
        return ChosenCategories(ids, expected or COCO, all_ids or None)
    length = len(labeled[0]["keypoints"])
    if expected is None:
        known = [s.name for s in KNOWN_SKELETONS.values() if 3 * s.num_keypoints == length]
        if "coco" not in known:
            hint = f", such as {', '.join(known)}" if known else ""
            raise InputError(
                f"{path}: no category names its keypoints; name them by --skeleton{hint}"
            )
    skeleton = expected or COCO
    findings.notes.append(
        f"no category names its keypoints: taken for those of {skeleton.name!r}, in this order: "
        f"{', '.join(skeleton.keypoints[:3])}, ..."
    )
    return ChosenCategories(ids, skeleton, all_ids or None)


def _category_skeleton(category: dict, findings: Findings) -> Skeleton:
    """Return the skeleton of a category, without limbs that do not exist."""
    limbs, keypoints = category.get("skeleton") or [], category["keypoints"]
    count = len(keypoints) if isinstance(keypoints, list) else 0
    try:
        return from_category({**category, "skeleton": limbs})
    except ValueError:
        if not isinstance(limbs, list):
            findings.add(LIMBS, f"category id {category['id']}")
            return from_category({**category, "skeleton": []})
    pairs = [
        limb
        for limb in limbs
        if isinstance(limb, list) and len(limb) == 2 and all(type(j) is int for j in limb)
    ]
    bad = [limb for limb in limbs if limb not in pairs]
    numbers = {j for limb in pairs for j in limb}
    if 0 in numbers and max(numbers) < count:
        findings.add(LIMBS_FROM_0, f"category id {category['id']}")
        pairs = [[a + 1, b + 1] for a, b in pairs]
    good = [limb for limb in pairs if all(1 <= j <= count for j in limb)]
    bad += [limb for limb in pairs if limb not in good]
    skeleton = from_category({**category, "skeleton": good})
    for limb in bad:
        findings.add(LIMBS, f"category id {category['id']}, such as {limb}")
    return skeleton


def check_same_keypoints(path, actual: Skeleton, expected: Skeleton) -> None:
    """Check that a file has the expected keypoints in the expected order.

    Args:
        path: Name of the file in errors.
        actual: The keypoints of the file.
        expected: The expected keypoints.

    Raises:
        InputError: If they differ.
    """
    if not same_keypoints(actual.keypoints, expected.keypoints):
        raise InputError(
            f"{path}: its keypoints are {', '.join(actual.keypoints)}; expected those of "
            f"{expected.name!r}, {', '.join(expected.keypoints)}"
        )


def conversion_order(path, actual: Skeleton, expected: Skeleton, findings: Findings) -> list[int]:
    """Return for each expected keypoint its index in the file, or -1.

    Raises:
        InputError: If no keypoint is shared.
    """
    order = match_keypoints(expected.keypoints, actual.keypoints)
    shared = [name for name, index in zip(expected.keypoints, order) if index >= 0]
    if not shared:
        check_same_keypoints(path, actual, expected)
    absent = [name for name, index in zip(expected.keypoints, order) if index < 0]
    unused = [n for index, n in enumerate(actual.keypoints) if index not in order]
    findings.notes.append(
        f"converted by name to {expected.name!r}: {len(shared)} of its {len(order)} keypoints"
        + (f"; never labeled: {', '.join(absent)}" if absent else "")
        + (f"; not used: {', '.join(unused)}" if unused else "")
    )
    return order
