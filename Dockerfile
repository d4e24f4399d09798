# tfcpn on one GPU box. Build: docker build -t tfcpn .   Run: see "In Docker" in README.md.
FROM tensorflow/tensorflow:2.15.0-gpu

ARG UID=1000
RUN if [ "${UID}" != 0 ]; then useradd --create-home --uid "${UID}" tfcpn; fi
WORKDIR /opt/tfcpn

# The dependencies first: they change less often than the code. TensorFlow is the image's own.
COPY setup.py pyproject.toml README.md ./
COPY tfcpn/__init__.py tfcpn/__init__.py
RUN pip install --no-cache-dir --editable .

COPY . .
RUN mkdir -p data runs && chown -R "${UID}" data runs
USER ${UID}
VOLUME ["/opt/tfcpn/data", "/opt/tfcpn/runs"]

# REQUIRE_GPU=0 lets a container run on the CPU; else it stops at once when TensorFlow sees no GPU.
ENV REQUIRE_GPU=1
ENTRYPOINT ["tools/docker_entry.sh"]
CMD ["python", "-m", "tfcpn.train", "--flagfile=flags/resnet50_256x192.cfg"]
