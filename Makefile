# make setup: install into .venv. make clean: delete .venv and the demo.
# make demo: draw people, train a network on them, show what it has learned; MINUTES=20 goes further.
# make test: lint and the quick tests. make test-slow: the others. make test-all: both.
# make models: fetch MediaPipe's networks. make mediapipe-check: run MODEL in MediaPipe itself.
# make docker-check: build and run the Docker image with podman; needs root, installs podman.

VENV ?= .venv
# Any from 3.9 to 3.13 will do. The first three have TensorFlow 2.15 and tensorflow-addons, which is the default.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.9 python3 python3.13 python3.12; do \
	if $$p -c 'import sys, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo $$p; break; fi; done)
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
MINUTES ?= 6

# Separate environments for MediaPipe, which brings a second OpenCV. The newest runs .task bundles; 0.10.14 is the
# last one with Pose, and left out where it cannot be installed. IMAGES: images of people.
MEDIAPIPE_VENV ?= .venv-mediapipe
LEGACY_VENV ?= .venv-mediapipe-0.10.14
LEGACY_PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3.9 python3; do \
	if $$p -c 'import sys, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; \
	then echo $$p; break; fi; done)
MODEL ?= data/mediapipe/pose_landmark_full.tflite
IMAGES ?= data/drawn_check/val
HAVE_PYTHON = test -n "$(PYTHON)" || { \
	echo "error: needs Python 3.9 to 3.13 with its venv (Debian: python3-venv); give one with make PYTHON=..."; exit 1; }

.PHONY: setup demo test test-slow test-all lint clean models mediapipe-check docker-check

setup: $(READY)

$(READY): setup.py pyproject.toml
	@$(HAVE_PYTHON)
	@echo "setting up $(VENV) with $(PYTHON): TensorFlow and what else is needed, a minute or more ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --upgrade "pip>=23" "setuptools>=64" wheel
	@$(VENV)/bin/pip install --quiet --editable ".[dev]"
	@touch $@

demo: $(READY)
	@$(RUN) tools/demo.py --minutes=$(MINUTES)

models: $(READY)
	$(RUN) tools/get_models.py

$(MEDIAPIPE_VENV)/.ready:
	@$(HAVE_PYTHON)
	$(PYTHON) -m venv $(MEDIAPIPE_VENV)
	$(MEDIAPIPE_VENV)/bin/pip install --quiet "mediapipe>=1.2,<2"
	touch $@

$(LEGACY_VENV)/.ready:
	@test -n "$(LEGACY_PYTHON)" && $(LEGACY_PYTHON) -m venv $(LEGACY_VENV) && \
		$(LEGACY_VENV)/bin/pip install --quiet mediapipe==0.10.14 && touch $@ || \
		{ rm -rf $(LEGACY_VENV); echo "without MediaPipe 0.10.14, which cannot be installed here"; }

mediapipe-check: models $(MEDIAPIPE_VENV)/.ready $(LEGACY_VENV)/.ready
	$(RUN) tools/make_people.py --output=data/drawn_check --train=1 --val=20
	test -e data/drawn_check/video.mp4 || \
		$(RUN) tools/make_video.py --output=data/drawn_check/video.mp4 --people=2 --seconds=3
	$(RUN) tools/mediapipe_check.py --model=$(MODEL) --images=$(IMAGES) --python=$(MEDIAPIPE_VENV)/bin/python \
		--video=data/drawn_check/video.mp4 \
		$$(test -e $(LEGACY_VENV)/.ready && echo --legacy_python=$(LEGACY_VENV)/bin/python)

docker-check:
	sh tools/docker_check.sh

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Dockerfile

test: lint
	$(RUN) -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(READY)
	$(RUN) -m pytest -n 2 --dist worksteal -m slow

test-all: test test-slow

clean:
	rm -rf $(VENV) data/demo runs/demo runs/demo_*_minutes
