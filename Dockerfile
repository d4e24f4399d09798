# tfcpn on one GPU box. Build: docker build -t tfcpn .   Run: see docs/getting_started.md.
# The base brings TensorFlow and CUDA. 2.15.0-gpu itself was built with the CUDA of an older TensorFlow.
ARG BASE=tensorflow/tensorflow:2.15.0.post1-gpu
FROM ${BASE}

# "cuda" where the base has no CUDA, such as python:3.11-slim.
ARG EXTRAS=report
ARG UID=1000
RUN if [ "${UID}" != 0 ]; then useradd --create-home --uid "${UID}" tfcpn; fi
WORKDIR /opt/tfcpn

# The dependencies first: they change less often than the code. TensorFlow is the image's own.
COPY setup.py pyproject.toml README.md ./
COPY tfcpn/__init__.py tfcpn/__init__.py
RUN pip install --no-cache-dir --editable ".[${EXTRAS}]"

COPY . .
RUN mkdir -p data runs && chown -R "${UID}" data runs
USER ${UID}
VOLUME ["/opt/tfcpn/data", "/opt/tfcpn/runs"]

# GPUs that are newer than TensorFlow's CUDA compile its kernels at first use, which takes minutes: kept in a volume.
ENV CUDA_CACHE_PATH=/opt/tfcpn/data/cuda_cache CUDA_CACHE_MAXSIZE=4294967296
# Tells tools/check_gpu.py where it is, under whatever engine.
ENV CONTAINER=docker
# REQUIRE_GPU=0 lets a container run on the CPU; else it stops at once when TensorFlow sees no GPU.
ENV REQUIRE_GPU=1
ENTRYPOINT ["tools/docker_entry.sh"]
CMD ["python", "-m", "tfcpn.train", "--flagfile=flags/resnet50_256x192.cfg"]
