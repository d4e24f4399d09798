#!/bin/sh
# Build the Dockerfile and run its image where there is neither a Docker engine nor a way to an image registry: with
# buildah and podman, as root, on a Debian 12 base made here that stands in for the base image.
#
# Shown: the build, the entry point, the user without root, mounted folders, training, SIGTERM with status 75, resuming,
# evaluation. Not shown: the real base image, CUDA, --gpus all.
#
# usage: sh tools/docker_check.sh [WORK_FOLDER]   (about 5 GB and ten minutes; a second run reuses what is there)
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=${1:-${TMPDIR:-/tmp}/tfcpn-docker-check}
stand_in=localhost/tfcpn-base

say() { echo "docker-check: $*"; }
fail() { echo "error: docker-check: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "needs root, for a container without an engine"
if ! command -v buildah >/dev/null || ! command -v podman >/dev/null || ! command -v crun >/dev/null || ! command -v mmdebstrap >/dev/null; then
	command -v apt-get >/dev/null || fail "needs buildah, podman, crun and mmdebstrap"
	say "installing buildah, podman, crun and mmdebstrap"
	{ apt-get update && apt-get install -y --no-install-recommends buildah podman crun mmdebstrap; } >/dev/null 2>&1 ||
		fail "apt-get could not install buildah, podman, crun and mmdebstrap"
fi
mkdir -p "$work"
work=$(cd "$work" && pwd)
cd "$work"

build() { buildah bud --storage-driver overlay --isolation chroot --network host --pull-never --layers "$@"; }

if ! buildah --storage-driver overlay inspect "$stand_in" >/dev/null 2>&1; then
	say "making a base of Debian 12, Python 3.11 and TensorFlow 2.15 (minutes)"
	[ -e root.tar ] ||
		mmdebstrap --quiet --mode=root --variant=minbase --include=ca-certificates,python3,python3-venv bookworm root.tar
	cp /etc/ssl/certs/ca-certificates.crt trusted.crt # what this machine trusts on the way to the package index
	cat >base.Dockerfile <<-'END'
		FROM scratch
		ADD root.tar /
		COPY trusted.crt /etc/ssl/certs/ca-certificates.crt
		ENV LANG=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt
		RUN rm -f /usr/lib/python3.*/EXTERNALLY-MANAGED && ln -sf python3 /usr/bin/python && \
		    python -m venv /tmp/pip && /tmp/pip/bin/pip --python /usr/bin/python3 install --no-cache-dir pip setuptools && \
		    rm -r /tmp/pip
		RUN pip install --no-cache-dir --root-user-action=ignore "tensorflow>=2.15,<2.16"
	END
	build -t "$stand_in" -f base.Dockerfile . >base.log 2>&1 || { tail -n 20 base.log >&2; fail "the base was not built"; }
fi

say "building the Dockerfile (minutes)"
build --build-arg BASE="$stand_in" --build-arg UID=1000 -t tfcpn "$checkout" >build.log 2>&1 ||
	{ tail -n 20 build.log >&2; fail "the Dockerfile was not built"; }

# As `docker run` does it, with the image's entry point, user and volumes. crun takes no machine whose cgroups are of
# both kinds, so they are hidden; a machine that may not raise limits keeps its own.
cat >run.sh <<-'END'
	#!/bin/sh
	exec unshare -m sh -c 'umount -R /sys/fs/cgroup 2>/dev/null; mount -t tmpfs none /sys/fs/cgroup && exec podman \
		--storage-driver overlay --runtime crun --cgroup-manager cgroupfs run --pull never --network host \
		--cgroups=disabled --ulimit nofile=4096:4096 --ulimit nproc=30000:30000 "$@"' sh "$@"
END
podman() { command podman --storage-driver overlay "$@"; }
rm -rf data runs && mkdir data runs && chown 1000 data runs
mounted="-v $work/data:/opt/tfcpn/data -v $work/runs:/opt/tfcpn/runs"
train="python -m tfcpn.train --flagfile=flags/smoke.cfg --train_records=data/demo/records"

say "without a GPU the image's own command stops with one line"
if sh run.sh --rm tfcpn >out.txt 2>&1; then fail "it continued without a GPU"; fi
grep "error: TensorFlow sees no GPU" out.txt || fail "it did not say why it stopped"

say "a training of seconds in mounted folders, by a user who is not root"
cat >data/inside.sh <<-END
	set -e
	test "\$(id -u)" = 1000
	python tools/make_people.py --output=data/demo --train=24 --val=8 --workers=2
	python tools/make_records.py --annotations=data/demo/annotations/person_keypoints_train.json \
	    --images=data/demo/train --output=data/demo/records --shards=4
	$train --model_dir=runs/smoke
	python -m tfcpn.eval --model_dir=runs/smoke --epoch=latest \
	    --val_annotations=data/demo/annotations/person_keypoints_val.json --val_images=data/demo/val
END
sh run.sh --rm -e REQUIRE_GPU=0 $mounted tfcpn sh data/inside.sh
[ "$(stat -c %u runs/smoke/config.json)" = 1000 ] || fail "the run's files are not the user's"

say "SIGTERM: the step is finished and saved, the container ends with status 75"
podman rm -f tfcpn-check >/dev/null 2>&1 || true
sh run.sh --name tfcpn-check -d -e REQUIRE_GPU=0 $mounted tfcpn $train --epochs=500 --model_dir=runs/long >/dev/null
waited=0
until grep -q '^1,' runs/long/metrics.csv 2>/dev/null; do
	sleep 2; waited=$((waited + 2)); [ $waited -lt 300 ] || fail "no epoch after five minutes"
done
kill -TERM "$(podman inspect -f '{{.State.Pid}}' tfcpn-check)"
waited=0
while [ "$(podman inspect -f '{{.State.Status}}' tfcpn-check)" = running ]; do
	sleep 1; waited=$((waited + 1)); [ $waited -lt 120 ] || fail "it did not stop within two minutes"
done
status=$(podman inspect -f '{{.State.ExitCode}}' tfcpn-check)
podman rm tfcpn-check >/dev/null
[ "$status" = 75 ] || fail "status $status"

say "a new container resumes the run, and another one evaluates it"
epoch=$(tail -n 1 runs/long/metrics.csv | cut -d, -f1)
sh run.sh --rm -e REQUIRE_GPU=0 $mounted tfcpn $train --epochs=$((epoch + 2)) --model_dir=runs/long >out.txt 2>&1 ||
	{ tail -n 5 out.txt >&2; fail "it did not resume"; }
grep -q "from epoch $((epoch + 1))" out.txt || fail "it did not resume from epoch $((epoch + 1))"
grep -q "^$((epoch + 2))," runs/long/metrics.csv || fail "it did not train two epochs more"
sh run.sh --rm -e REQUIRE_GPU=0 $mounted tfcpn python -m tfcpn.eval --model_dir=runs/long --epoch=latest \
	--val_annotations=data/demo/annotations/person_keypoints_val.json --val_images=data/demo/val
say "passed: build, entry point, user, volumes, training, SIGTERM, resuming, evaluation; CUDA was not tried"
