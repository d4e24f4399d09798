"""Serve training people: one dispatcher, and workers that read, decode and crop for --data_service."""

from __future__ import annotations

import os

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, text, whole

ROLES = ("dispatcher", "worker")
COMMAND = Command(
    "python tools/data_service.py",
    __doc__,
    {
        "What": [
            choice(
                "role",
                None,
                ROLES,
                "One dispatcher and any number of workers make a service.",
                required=True,
            ),
            whole("port", 5050, "Port of the dispatcher; a worker takes 0, any free one.", least=0),
            text("dispatcher", "", "Of a worker: host:port of its dispatcher."),
            text(
                "address",
                "",
                "Of a worker: host under which trainers reach it; empty: this machine only.",
            ),
        ]
    },
)


def main(options: Options) -> None:
    own = options.own
    if own.role == "worker" and not own.dispatcher:
        raise InputError("--dispatcher is missing: host:port of the dispatcher")
    import_tensorflow()
    import tensorflow as tf

    from tfcpn.base import device

    device.hide_gpus()
    service = tf.data.experimental.service
    if own.role == "dispatcher":
        server = service.DispatchServer(service.DispatcherConfig(port=own.port))
        print(f"dispatcher: --data_service=HOST:{server.target.rsplit(':', 1)[1]}", flush=True)
    else:
        port = own.port if "port" in options.given else 0
        address = f"{own.address or 'localhost'}:%port%"
        config = service.WorkerConfig(
            dispatcher_address=own.dispatcher, worker_address=address, port=port
        )
        server = service.WorkerServer(config)
        print(f"worker of {own.dispatcher}, process {os.getpid()}", flush=True)
    server.join()


if __name__ == "__main__":
    COMMAND.run(main)
