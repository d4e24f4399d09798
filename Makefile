# make demo: draws people, trains a CPN on them and shows what it learnt.   make test: lint, tests, a tiny run.
# make models: fetches MediaPipe's networks.   make mediapipe-check: MediaPipe's own Pose with one of ours.
# All set up their own environment in .venv first.

VENV ?= .venv
PYTHON ?= $(shell for p in python3.11 python3.10 python3.9 python3; do \
	if $$p -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
DEMO := data/demo

# Where MediaPipe itself is installed, apart from ours: it brings a second OpenCV. PICTURES: people to look at.
MEDIAPIPE_VENV ?= .venv-mediapipe
MODEL ?= data/mediapipe/pose_landmark_full.tflite
PICTURES ?= data/drawn_check/val

.PHONY: setup demo test lint clean models mediapipe-check

setup: $(READY)

$(READY): setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.9, 3.10 or 3.11; give one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --upgrade "pip>=23" "setuptools>=64" wheel
	$(VENV)/bin/pip install --quiet --editable ".[dev]"
	touch $@

demo: $(READY)
	$(RUN) tools/make_people.py --output=$(DEMO)
	$(RUN) tools/make_records.py --annotations=$(DEMO)/annotations/person_keypoints_train.json \
		--images=$(DEMO)/train --output=$(DEMO)/records --shards=16
	$(RUN) -m tfcpn.train --flagfile=flags/demo.cfg
	$(RUN) -m tfcpn.eval --flagfile=flags/demo.cfg --epoch=latest
	$(RUN) tools/draw_poses.py --annotations=$(DEMO)/annotations/person_keypoints_val.json --images=$(DEMO)/val \
		--results=$$(ls -d runs/demo/eval/epoch_* | tail -n 1)/results.json --output=runs/demo/poses.png
	@echo "Look at runs/demo/poses.png"

models: $(READY)
	$(RUN) tools/get_models.py

$(MEDIAPIPE_VENV)/.ready:
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.9, 3.10 or 3.11; give one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(MEDIAPIPE_VENV)
	$(MEDIAPIPE_VENV)/bin/pip install --quiet mediapipe==0.10.14
	touch $@

mediapipe-check: models $(MEDIAPIPE_VENV)/.ready
	$(RUN) tools/make_people.py --output=data/drawn_check --train=1 --val=20
	$(RUN) tools/mediapipe_check.py --model=$(MODEL) --pictures=$(PICTURES) --python=$(MEDIAPIPE_VENV)/bin/python

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/hadolint Dockerfile

test: lint
	$(RUN) -m pytest -n 2 --dist worksteal -m "not slow"

test-all: lint
	$(RUN) -m pytest -n 2 --dist worksteal

clean:
	rm -rf $(VENV) $(DEMO) runs/demo
