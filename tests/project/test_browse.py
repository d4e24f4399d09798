"""tools/browse.py: the page for annotations and records, in headless Chromium."""

import json
import shutil

import numpy as np
import pytest

from support.browsers import faults, wide
from tfcpn.data.coco import read_annotations
from tfcpn.transforms.regions import crop_to_image


@pytest.fixture
def page(command, browser, tmp_path):
    """Make the page with these arguments, open it, and return its content."""

    def made(*arguments, width=1200):
        command("tools/browse.py", *arguments, f"--output={tmp_path / 'browse'}")
        wide(browser, width)
        browser.get((tmp_path / "browse" / "index.html").as_uri())
        assert not faults(browser)
        return browser

    return made


def choose(browser, control: str, value) -> int:
    """Set a control and return the number of people left."""
    script = (
        "const c = document.getElementById(arguments[0]); c.value = arguments[1]; apply(); "
        "return chosen.length"
    )
    return browser.execute_script(script, control, str(value))


def drawn(browser) -> int:
    """Wait for the visible crops and return the number of drawn ones."""
    script = """const done = arguments[0], look = () => {
      const top = c => c.getBoundingClientRect().top;
      const all = [...document.querySelectorAll('figure canvas')].filter(c => top(c) < innerHeight);
      all.every(c => c.dataset.drawn) ? done(all.length) : setTimeout(look, 50) }; look()"""
    browser.set_script_timeout(20)
    return browser.execute_async_script(script)


@pytest.mark.parametrize("width", [360, 1440])
def test_annotations_are_shown_and_filtered(page, people, width):
    browser = page(f"--annotations={people.val_annotations}", f"--images={people.val}", width=width)
    _, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    assert drawn(browser) > 3 and f"{len(shown)} people" in browser.find_element("id", "title").text
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert choose(browser, "least", 17) == sum(p.num_keypoints >= 17 for p in shown)
    choose(browser, "least", 0)
    wrist = read_annotations(people.val_annotations).skeleton.keypoints.index("left_wrist")
    assert choose(browser, "has", wrist) == sum(p.keypoints[wrist, 2] > 0 for p in shown)
    choose(browser, "has", "")
    large = sum(p.area >= 96**2 for p in shown)
    assert choose(browser, "size", "large") == large and choose(browser, "size", "small") < len(
        shown
    )
    choose(browser, "size", "")
    assert choose(browser, "alignable", "yes") + choose(browser, "alignable", "no") == len(shown)
    choose(browser, "alignable", "")
    assert sum(choose(browser, "people_in_image", n) for n in ("1-1", "2-3", "4-9999")) == len(
        shown
    )
    choose(browser, "people_in_image", "")
    assert sum(
        choose(browser, "rotation", n) for n in ("0-30", "30-90", "90-181", "unknown")
    ) == len(shown)
    choose(browser, "rotation", "")
    assert choose(browser, "name", shown[0].id) >= 1


def test_crops_are_those_of_the_alignments(page, people):
    """The transform that draws the page is the inverse of the one that cuts crops."""
    browser = page(f"--annotations={people.val_annotations}", f"--images={people.val}")
    for number, crop in enumerate(browser.execute_script("return DATA.crops")):
        assert choose(browser, "crop", number) and drawn(browser)
        script = (
            f"return DATA.people.map(p => [p.regions[{number}], "
            f"transform(p.regions[{number}], 100, 200)])"
        )
        for region, (a, b, c, d, e, f) in browser.execute_script(script):
            back = np.array([[a, c, e], [b, d, f], [0, 0, 1]])
            there = np.vstack([crop_to_image(np.array(region), (200, 100)).numpy(), [0, 0, 1]])
            np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-6)
        turned = browser.execute_script(
            f"return DATA.people.some(p => p.regions[{number}][4] !== 0)"
        )
        assert turned == (crop["name"] == "blazepose")


def test_a_person_is_shown_in_its_image(page, people):
    browser = page(f"--annotations={people.val_annotations}", f"--images={people.val}")
    drawn(browser)
    browser.find_element("css selector", "figure").click()
    assert "the frame is the crop" in browser.find_element("css selector", "dialog p").text


def test_records_are_shown_with_images(page, people, tmp_path):
    images = tmp_path / "browse" / "images_of_records"
    images.mkdir(parents=True)
    for name in ("900000.jpg", "mine.jpg"):
        (images / name).write_text("of an earlier page, and a file of the user")
    browser = page(f"--records={people.records}")
    count = browser.execute_script("return DATA.people.length")
    _, annotated, *_ = read_annotations(
        people.folder / "annotations" / "person_keypoints_train.json"
    )
    assert count == sum(p.trainable for p in annotated) and drawn(browser)
    assert len(list(images.iterdir())) == browser.execute_script("return DATA.images.length") + 1
    assert (images / "mine.jpg").exists() and not (images / "900000.jpg").exists()
    assert browser.execute_script("return images.size") > 0


def test_ten_thousand_people_are_shown_in_pages(page, people, tmp_path):
    data = json.loads(people.val_annotations.read_text())
    some = [a for a in data["annotations"] if a["num_keypoints"]]
    data["annotations"] = [{**some[n % len(some)], "id": n + 1} for n in range(10_000)]
    (tmp_path / "many.json").write_text(json.dumps(data))
    browser = page(f"--annotations={tmp_path / 'many.json'}", f"--images={people.val}")
    drawn(browser)
    assert choose(browser, "least", 1) == 10_000
    assert browser.execute_script("return document.querySelectorAll('figure').length") <= 480
    script = """const done = arguments[0], was = shown;
      const look = () => shown > was ? done(shown) : setTimeout(look, 50);
      scrollTo(0, document.body.scrollHeight); look()"""
    assert browser.execute_async_script(script) > 120


def test_image_names_may_have_any_character(page, people, tmp_path):
    data = json.loads(people.val_annotations.read_text())
    name = "a b#c?100%.jpg"
    (tmp_path / "odd").mkdir()
    shutil.copy(people.val / data["images"][0]["file_name"], tmp_path / "odd" / name)
    data["images"] = [data["images"][0] | {"file_name": name}]
    data["annotations"] = [
        a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]
    ]
    (tmp_path / "odd.json").write_text(json.dumps(data))
    browser = page(f"--annotations={tmp_path / 'odd.json'}", f"--images={tmp_path / 'odd'}")
    assert (
        drawn(browser)
        and browser.execute_async_script("loadImage(0).then(i => arguments[0](i.naturalWidth))") > 0
    )


@pytest.mark.parametrize(
    "arguments, printed",
    [
        ([], "expected --annotations with --images, or --records"),
        (
            ["--annotations=a.json", "--records=b"],
            "expected --annotations with --images, or --records",
        ),
        (["--annotations=nowhere.json", "--images=."], "nowhere.json"),
        (["--records=nowhere"], "nowhere"),
    ],
)
def test_invalid_input_is_reported(command, tmp_path, arguments, printed):
    done = command("tools/browse.py", *arguments, f"--output={tmp_path / 'out'}", check=False)
    assert done.status == 1 and printed in done.err and not (tmp_path / "out").exists()
