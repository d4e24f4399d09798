#!/bin/sh
# The container's entry: look for the GPU that was asked for, then run the command.
set -eu
python tools/check_gpu.py
exec "$@"
