"""The web page: responses, refusals, and the display in a browser."""

import io
import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from support.walking import KnowingPose, frame, standing
from tfcpn.inference.batch import PredictOptions
from tfcpn.inference.server import (
    KEPT,
    Limits,
    Upload,
    Uploads,
    _answer,
    make_app,
    predict_upload,
)
from tfcpn.inference.video import VideoWriter
from tfcpn.models.specs import DEFAULT_DETECTION_MODEL
from tfcpn.predict import detectors_to_choose

PORT = 8765


def two_people(number):
    return [standing(200), standing(440, size=0.8)]


def make(limits=None, pose=None, port=PORT, detectors=None):
    pytest.importorskip("flask")
    pose, limits = pose or KnowingPose(two_people), limits or Limits(1, 50)
    return make_app(pose, PredictOptions(), limits, port, detectors)


def png(image=None) -> bytes:
    return cv2.imencode(".png", frame(0) if image is None else image)[1].tobytes()


@pytest.fixture
def send():
    client = make().test_client()

    def upload(name, content, base=f"http://127.0.0.1:{PORT}", **headers):
        form = {"file": (io.BytesIO(content), name)}
        return client.post("/pose", data=form, base_url=base, headers=headers)

    upload.get = lambda path: client.get(path, base_url=f"http://127.0.0.1:{PORT}")
    yield upload
    client.application.uploads.close()


def lines(answer) -> list[dict]:
    """The lines of an answer: progress, and at last the data or an error."""
    return [json.loads(line) for line in answer.data.decode().splitlines()]


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "walk.webm"
    with VideoWriter(path, 25.0) as video:
        for _ in range(10):
            video.add(np.full((240, 320, 3), 90, np.uint8))
    return path


def test_the_response_to_an_image_has_people_and_limbs(send):
    answer = lines(send("me.png", png()))[-1]
    assert (answer["width"], answer["height"], answer["video"]) == (640, 400, False)
    (people,) = (f["people"] for f in answer["frames"])
    assert [p["track_id"] for p in people] == [1, 2] and answer["keypoints"][0] == "nose"
    assert people[0]["keypoints"][0] == pytest.approx(standing(200)[0].tolist())
    assert answer["sides"][:3] == ["middle", "left", "right"]
    left_arm = answer["keypoints"].index("left_shoulder"), answer["keypoints"].index("left_elbow")
    assert [*left_arm, "left"] in answer["limbs"]
    results = answer["results"]
    assert results["images"][0]["file_name"] == "me.png" and len(results["annotations"]) == 2
    json.dumps(answer, allow_nan=False)


def test_the_response_to_a_video_has_every_frame(send, walk):
    *progress, answer = lines(send("walk.webm", walk.read_bytes()))
    assert progress[0]["done"] == 0 and all(line["total"] for line in progress)
    assert answer["video"]
    assert [f["seconds"] for f in answer["frames"]] == pytest.approx(
        [n / 25 for n in range(10)], abs=1e-3
    )
    assert [len(f["people"]) for f in answer["frames"]] == [2] * 10
    assert {p["track_id"] for f in answer["frames"] for p in f["people"]} == {1, 2}
    assert answer["results"]["images"][3]["file_name"] == "walk.webm#3"


@pytest.mark.parametrize(
    "name, content, printed",
    [
        ("notes.txt", b"text", "notes.txt: expected an image or a video"),
        ("", b"", "no file"),
        ("bad.jpg", b"no image", "bad.jpg: cannot be read as an image"),
        ("bad.mp4", b"no video", "bad.mp4: cannot be read as a video"),
        ("../../etc/passwd.png", b"x", "passwd.png: cannot be read"),
    ],
)
def test_an_unreadable_upload_is_reported_without_paths_of_the_server(send, name, content, printed):
    error = lines(send(name, content))[-1]["error"]
    assert error.startswith(printed) and "/tmp" not in error


def test_sizes_are_limited(walk):
    client = make(Limits(megabytes=1, frames=4)).test_client()

    def post(name, content):
        form = {"file": (io.BytesIO(content), name)}
        return client.post("/pose", data=form, base_url=f"http://127.0.0.1:{PORT}")

    large = post("a.png", b"0" * 1_100_000)
    assert large.status_code == 413 and "larger than the 1 MB" in large.get_json()["error"]
    assert "more than 4 frames" in lines(post("walk.webm", walk.read_bytes()))[-1]["error"]


def test_other_origins_and_host_names_are_refused(send):
    """A page elsewhere cannot send requests from a visitor's browser, not even by DNS rebinding."""
    assert send("a.png", png(), base=f"http://evil.example:{PORT}").status_code == 403
    assert send("a.png", png(), Origin="http://evil.example").status_code == 403
    assert send("a.png", png(), Origin=f"http://localhost:{PORT}").status_code == 200


def test_host_names_without_the_default_port_are_accepted():
    client = make(port=80).test_client()
    assert client.get("/", base_url="http://127.0.0.1").status_code == 200
    assert client.get("/", base_url="http://evil.example").status_code == 403


def test_only_the_page_is_served():
    client = make().test_client()
    base = f"http://127.0.0.1:{PORT}"
    page = client.get("/", base_url=base)
    assert (
        page.status_code == 200 and b"<canvas" not in page.data and b"Poses of people" in page.data
    )
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/index.html", "/../server.py", "/page/index.html", "/pose"):
        assert client.get(path, base_url=base).status_code in (404, 405)


def test_only_the_last_uploads_are_kept_and_none_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client = make().test_client()
    tokens = []
    for _ in range(KEPT + 2):
        form = {"file": (io.BytesIO(png()), "me.png")}
        answer = client.post("/pose", data=form, base_url=f"http://127.0.0.1:{PORT}")
        tokens.append(lines(answer)[-1]["token"])
    form = {"file": (io.BytesIO(b"no video"), "bad.mp4")}
    lines(client.post("/pose", data=form, base_url=f"http://127.0.0.1:{PORT}"))
    assert len(list(tmp_path.iterdir())) == KEPT
    found = [
        client.get(f"/drawn/{token}", base_url=f"http://127.0.0.1:{PORT}").status_code
        for token in (tokens[0], tokens[-1], "unknown")
    ]
    assert found == [404, 200, 404]
    client.application.uploads.close()
    assert list(tmp_path.iterdir()) == []


def test_the_drawn_file_and_the_frames_of_a_video_can_be_fetched(send, walk):
    image = lines(send("me.png", png()))[-1]
    drawn = send.get(f"/drawn/{image['token']}")
    assert "me_poses.png" in drawn.headers["Content-Disposition"]
    pixels = cv2.imdecode(np.frombuffer(drawn.data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (400, 640, 3) and pixels.max() > 200
    video = lines(send("walk.webm", walk.read_bytes()))[-1]
    assert "walk_poses.mp4" in send.get(f"/drawn/{video['token']}").headers["Content-Disposition"]
    frame_3 = send.get(f"/frame/{video['token']}/3")
    assert frame_3.mimetype == "image/jpeg"
    assert cv2.imdecode(np.frombuffer(frame_3.data, np.uint8), 1).shape == (240, 320, 3)
    assert send.get(f"/frame/{video['token']}/10").status_code == 404
    assert send.get(f"/frame/{image['token']}/0").status_code == 404


def test_a_visitor_who_goes_ends_the_work(walk, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    upload, uploads, seen = Upload("walk.webm"), Uploads(), []
    Path(upload.path).write_bytes(walk.read_bytes())
    pose = KnowingPose(two_people)
    work = predict_upload(lambda: pose, upload, PredictOptions(), Limits(1, 50))

    def is_gone():
        seen.append(1)
        return len(seen) > 4

    list(_answer(work, upload, uploads, is_gone))
    assert len(seen) == 5 and not list(tmp_path.iterdir())


def test_detector_and_threshold_can_be_chosen():
    asked = []

    def detector(pose, threshold):
        asked.append(threshold)
        return lambda image: []

    client = make(detectors={"started with": detector, "empty": detector}).test_client()
    base = f"http://127.0.0.1:{PORT}"
    settings = client.get("/settings", base_url=base).get_json()
    assert settings["detectors"] == ["started with", "empty"] and settings["megabytes"] == 1
    assert settings["colors"]["left"] == "#ff7828" and settings["frames"] == 50

    def count(**form):
        form["file"] = (io.BytesIO(png()), "me.png")
        answer = lines(client.post("/pose", data=form, base_url=base))[-1]
        return len(answer["frames"][0]["people"])

    assert count() == 2 and count(detector="started with", threshold="0") == 2
    assert count(detector="empty", threshold="0.4") == 0 and count(detector="empty") == 0
    assert count(detector="empty", threshold="0.4") == 0 and asked == [0.4, None]
    assert count(detector="started with", threshold="0.4") == 0
    assert count(detector="unknown") == 2
    client.application.uploads.close()


@pytest.mark.parametrize(
    ("detector", "names"),
    [
        ("auto", ["MediaPipe's"]),
        ("none", ["the whole image", "MediaPipe's"]),
        ("runs/mine", ["mine", "MediaPipe's"]),
        (DEFAULT_DETECTION_MODEL, ["MediaPipe's"]),
    ],
)
def test_the_detector_of_the_flags_is_the_first_to_choose(detector, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / DEFAULT_DETECTION_MODEL
    file.parent.mkdir(parents=True)
    file.touch()
    args = SimpleNamespace(boxes="detect", detector=detector, network="auto", tiles=1)
    args.model = args.model_dir = ""
    assert list(detectors_to_choose(args)) == names
    args.boxes = "image"
    assert detectors_to_choose(args) == {}


@pytest.mark.parametrize(
    "arguments, printed",
    [
        (["a.jpg"], "--serve takes images from its page only"),
        (["--boxes=b.json"], "expected detect or image"),
        (["--model=no.tflite", "--detector=none"], "no.tflite not found"),
        (["--flip_test=no"], "has no effect here"),
    ],
)
def test_flags_that_do_not_apply_to_the_page_are_reported(command, arguments, printed):
    failed = command("-m", "tfcpn.predict", "--serve", *arguments, check=False)
    assert failed.status == 1 and printed in failed.err


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, if installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = (
        shutil.which("chromium") or shutil.which("google-chrome"),
        shutil.which("chromedriver"),
    )
    if not chromium or not driver:
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture(scope="module")
def address():
    """The web page, served as for a user, with people at known positions."""
    waitress = pytest.importorskip("waitress")
    from waitress.server import create_server

    assert waitress
    server = create_server(lambda environ, start: None, host="127.0.0.1", port=0)
    app = make(port=server.effective_port)
    server.application = app
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}/"
    server.close()


def until(browser, script, seconds=20):
    """Wait until a script returns a true value; return the value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if said := browser.execute_script(f"return {script}"):
            return said
        time.sleep(0.05)
    raise AssertionError(f"{script}: {browser.execute_script('return document.body.innerText')}")


@pytest.mark.parametrize("width, height", [(360, 740), (1440, 900)])
def test_an_image_dropped_in_a_browser_shows_its_skeletons(
    browser, address, tmp_path, width, height
):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(address)
    cv2.imwrite(str(tmp_path / "me.png"), frame(0))
    browser.find_element("id", "file").send_keys(str(tmp_path / "me.png"))
    until(browser, "document.getElementById('state').textContent.includes('2 people')")
    # Orange on the left arm of the person, blue on the right arm, and nothing next to them.
    left, right = (standing(200)[[a, b]].mean(axis=0) for a, b in ((5, 7), (6, 8)))
    script = (
        "const p = canvas.getContext('2d').getImageData({}, {}, 1, 1).data; "
        "return [p[0], p[1], p[2]]"
    )
    colors = [
        browser.execute_script(script.format(*map(int, place)))
        for place in (left, right, (20, 380))
    ]
    assert np.abs(np.subtract(colors, [[255, 120, 40], [30, 160, 255], [0, 0, 0]])).max() < 12
    # Nothing is truncated or extends beyond the window.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # The name and score of the keypoint under the pointer.
    nose = browser.execute_script(
        "canvas.scrollIntoView({block: 'center'});"
        "const f = canvas.getBoundingClientRect(), s = f.width / canvas.width;"
        f"return [f.left + {standing(200)[0][0]} * s, f.top + {standing(200)[0][1]} * s]"
    )
    browser.execute_cdp_cmd(
        "Input.dispatchMouseEvent", {"type": "mouseMoved", "x": nose[0], "y": nose[1]}
    )
    assert (
        until(
            browser,
            "!document.getElementById('tip').hidden && document.getElementById('tip').textContent",
        )
        == "1: nose 0.90"
    )
    # The table of the other person, and the download.
    browser.execute_script("document.querySelector('#who [data-id=\"2\"]').click()")
    pressed = "[...document.querySelectorAll('#who button')].map(b => b.ariaPressed)"
    assert browser.execute_script(f"return {pressed}") == ["false", "true"]
    assert browser.execute_script("return document.querySelectorAll('#rows tr').length") == 17
    printed = browser.execute_async_script(
        "const done = arguments[0]; const a = document.getElementById('save');"
        "fetch(a.href).then(r => r.json()).then(d => done([a.download, d.annotations.length]))"
    )
    assert printed == ["me.json", 2]
    serious = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert not serious


def test_a_video_plays_with_its_skeletons(browser, address, walk):
    browser.get(address)
    browser.find_element("id", "file").send_keys(str(walk))
    until(browser, "document.getElementById('state').textContent.includes('10 frames')")
    until(browser, "video && video.readyState >= 2")
    assert browser.execute_script("return [canvas.width, canvas.height, found.frames.length]") == [
        320,
        240,
        10,
    ]
    browser.execute_script("video.pause(); video.currentTime = 0.3")
    until(browser, "shown === 7 || shown === 8")
    assert browser.execute_script(
        "return canvas.getContext('2d').getImageData(0, 0, 320, 240).data.some(v => v > 0)"
    )


def test_a_bad_file_is_reported_on_the_page(browser, address, tmp_path):
    browser.get(address)
    (tmp_path / "<b>bad.jpg").write_text("no image")
    browser.find_element("id", "file").send_keys(str(tmp_path / "<b>bad.jpg"))
    until(browser, "document.getElementById('state').className === 'bad'")
    assert browser.find_element("id", "state").text.startswith(
        "<b>bad.jpg: cannot be read as an image"
    )


def dropped(browser, path):
    until(browser, "document.readyState === 'complete' && settings.megabytes")
    browser.find_element("id", "file").send_keys(str(path))


def test_a_click_on_a_person_chooses_it_and_limits_are_told_before(browser, address, tmp_path):
    browser.get(address)
    until(browser, "document.getElementById('limits').textContent.includes('50 frames')")
    cv2.imwrite(str(tmp_path / "me.png"), frame(0))
    dropped(browser, tmp_path / "me.png")
    until(browser, "document.getElementById('state').textContent.includes('2 people')")
    assert browser.execute_script("return chosen") == 1
    x, y = standing(440, size=0.8)[11]
    browser.execute_script(
        "canvas.scrollIntoView({block: 'center'}); const f = canvas.getBoundingClientRect();"
        f"const s = f.width / canvas.width, at = {{clientX: f.left + {x} * s, clientY: f.top + "
        f"{y} * s, bubbles: true}}; canvas.dispatchEvent(new PointerEvent('pointerdown', at))"
    )
    assert browser.execute_script("return chosen") == 2


def test_small_images_are_not_blown_up_and_portraits_fit(browser, address, tmp_path):
    size = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    shown = "canvas.getBoundingClientRect()"
    for name, shape in (("small.png", (200, 160)), ("portrait.png", (2000, 900))):
        image = np.zeros((*shape, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), image)
        browser.get(address)
        dropped(browser, tmp_path / name)
        until(browser, f"document.getElementById('state').textContent.startsWith('{name}: 2')")
        width, height = browser.execute_script(f"return [{shown}.width, {shown}.height]")
        assert height <= 0.75 * 900 + 1 and height <= shape[0]
        assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_a_video_that_the_browser_does_not_play_is_shown_as_frames(browser, address, tmp_path):
    path = tmp_path / "old.avi"
    with VideoWriter(path, 25.0) as video:
        for level in range(10):
            video.add(np.full((240, 320, 3), 40 + 20 * level, np.uint8))
    browser.get(address)
    dropped(browser, path)
    until(browser, "!!(player && canvas.image)")
    browser.execute_script("document.getElementById('play').click()")
    browser.execute_script("const s = document.getElementById('seek'); s.value = 8; s.oninput()")
    until(browser, "shown === 8 && canvas.image && canvas.image.src.endsWith('/8')")
    level = browser.execute_script(
        "return canvas.getContext('2d').getImageData(300, 230, 1, 1).data[0]"
    )
    assert level == pytest.approx(200, abs=25)


def test_the_old_result_stays_until_the_new_one_is_there_and_work_can_be_canceled(
    browser, tmp_path, walk
):
    waitress = pytest.importorskip("waitress.server")
    pose = KnowingPose(two_people)
    predict = pose.predict_regions
    pose.predict_regions = lambda *what, **how: time.sleep(0.3) or predict(*what, **how)
    server = waitress.create_server(
        lambda environ, start: None, host="127.0.0.1", port=0, channel_request_lookahead=1
    )
    server.application = make(pose=pose, port=server.effective_port)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{server.effective_port}/")
        cv2.imwrite(str(tmp_path / "me.png"), frame(0))
        dropped(browser, tmp_path / "me.png")
        until(browser, "document.getElementById('state').textContent.includes('2 people')")
        dropped(browser, walk)
        until(browser, "document.getElementById('left').textContent.includes('left')")
        assert not browser.execute_script("return document.getElementById('work').hidden")
        browser.execute_script("document.getElementById('cancel').click()")
        until(browser, "document.getElementById('state').textContent === 'walk.webm: canceled'")
        assert browser.execute_script("return found.video") is False
    finally:
        server.application.uploads.close()
        server.close()
