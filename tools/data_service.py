"""Serve training people: one dispatcher, and workers that read, decode and crop for --data_service."""

from __future__ import annotations

import os

from absl import flags

from tfcpn import command_line, device
from tfcpn.errors import InputError

import tensorflow as tf  # isort: skip  (after tfcpn, which quietens its start)

FLAGS = flags.FLAGS
flags.DEFINE_enum("role", None, ["dispatcher", "worker"], "One dispatcher and any number of workers make a service.")
flags.DEFINE_integer("port", 5050, "Port of the dispatcher; a worker takes 0, any free one.", lower_bound=0)
flags.DEFINE_string("dispatcher", "", "Of a worker: host:port of its dispatcher.")
flags.DEFINE_string("address", "", "Of a worker: host under which trainers reach it; empty: this machine only.")
GROUPS = {"What": ["role", "port", "dispatcher", "address"]}


def main() -> None:
    if not FLAGS.role:
        raise InputError("--role is missing: dispatcher or worker")
    device.use_no_gpu()
    service = tf.data.experimental.service
    if FLAGS.role == "dispatcher":
        server = service.DispatchServer(service.DispatcherConfig(port=FLAGS.port))
        print(f"dispatcher: --data_service=HOST:{server.target.rsplit(':', 1)[1]}", flush=True)
    else:
        if not FLAGS.dispatcher:
            raise InputError("--dispatcher is missing: host:port of the dispatcher")
        port = FLAGS.port if FLAGS["port"].present else 0
        address = f"{FLAGS.address or 'localhost'}:%port%"
        config = service.WorkerConfig(dispatcher_address=FLAGS.dispatcher, worker_address=address, port=port)
        server = service.WorkerServer(config)
        print(f"worker of {FLAGS.dispatcher}, process {os.getpid()}", flush=True)
    server.join()


if __name__ == "__main__":
    command_line.run(main, "python tools/data_service.py", __doc__, GROUPS)
