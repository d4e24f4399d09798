"""Serve training people: a dispatcher, and workers that read, decode and crop."""

from __future__ import annotations

import os

from tfcpn.cli import Command, Options, enum, integer, string
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.errors import InputError

ROLES = ("dispatcher", "worker")
COMMAND = Command(
    "python tools/data_service.py",
    __doc__,
    {
        "What": [
            enum(
                "role",
                None,
                ROLES,
                "One dispatcher and any number of workers make a service.",
                required=True,
            ),
            integer(
                "port", 5050, "Port of the dispatcher; a worker takes 0, any free one.", minimum=0
            ),
            string("dispatcher", "", "Of a worker: host:port of its dispatcher."),
            string(
                "address",
                "",
                "Of a worker: host under which trainers reach it; empty: this machine only.",
            ),
        ]
    },
)


def main(options: Options) -> None:
    args = options.args
    if args.role == "worker" and not args.dispatcher:
        raise InputError("--dispatcher is missing: host:port of the dispatcher")
    import_tensorflow()
    import tensorflow as tf

    from tfcpn.utils import device

    device.hide_gpus()
    service = tf.data.experimental.service
    if args.role == "dispatcher":
        server = service.DispatchServer(service.DispatcherConfig(port=args.port))
        print(f"dispatcher: --data_service=HOST:{server.target.rsplit(':', 1)[1]}", flush=True)
    else:
        port = args.port if "port" in options.explicit else 0
        address = f"{args.address or 'localhost'}:%port%"
        config = service.WorkerConfig(
            dispatcher_address=args.dispatcher, worker_address=address, port=port
        )
        server = service.WorkerServer(config)
        print(f"worker of {args.dispatcher}, process {os.getpid()}", flush=True)
    server.join()


if __name__ == "__main__":
    COMMAND.run(main)
