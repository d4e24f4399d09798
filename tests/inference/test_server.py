"""The web page: responses, refusals, and the display in a browser."""

import io
import json
import shutil
import threading
import time

import cv2
import numpy as np
import pytest

from support.walking import KnowingPose, frame, standing
from tfcpn.inference.batch import PredictOptions
from tfcpn.inference.server import Limits, make_app
from tfcpn.inference.video import VideoWriter

PORT = 8765


def two_people(number):
    return [standing(200), standing(440, size=0.8)]


def make(limits=None, pose=None, port=PORT):
    pytest.importorskip("flask")
    return make_app(
        pose or KnowingPose(two_people), PredictOptions(), limits or Limits(1, 50), port
    )


def png(image=None) -> bytes:
    return cv2.imencode(".png", frame(0) if image is None else image)[1].tobytes()


@pytest.fixture
def send():
    client = make().test_client()

    def upload(name, content, base=f"http://127.0.0.1:{PORT}", **headers):
        form = {"file": (io.BytesIO(content), name)}
        return client.post("/pose", data=form, base_url=base, headers=headers)

    return upload


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "walk.webm"
    with VideoWriter(path, 25.0) as video:
        for _ in range(10):
            video.add(np.full((240, 320, 3), 90, np.uint8))
    return path


def test_the_response_to_an_image_has_people_and_limbs(send):
    answer = send("me.png", png()).get_json()
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
    answer = send("walk.webm", walk.read_bytes()).get_json()
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
    answer = send(name, content)
    assert answer.status_code == 400 and answer.get_json()["error"].startswith(printed)
    assert "/tmp" not in answer.get_json()["error"]


def test_sizes_are_limited(walk):
    client = make(Limits(megabytes=1, frames=4)).test_client()

    def post(name, content):
        form = {"file": (io.BytesIO(content), name)}
        return client.post("/pose", data=form, base_url=f"http://127.0.0.1:{PORT}")

    large = post("a.png", b"0" * 1_100_000)
    assert large.status_code == 413 and "larger than the 1 MB" in large.get_json()["error"]
    assert "more than 4 frames" in post("walk.webm", walk.read_bytes()).get_json()["error"]


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


def test_no_temporary_file_remains(send, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    send("me.png", png())
    send("bad.mp4", b"no video")
    assert list(tmp_path.iterdir()) == []


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
    assert np.abs(np.subtract(colors, [[232, 113, 10], [26, 140, 255], [0, 0, 0]])).max() < 12
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
    browser.execute_script("const w = document.getElementById('who'); w.value = '2'; w.onchange()")
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
