"""Run `tfcpn.commands.filter_coco` from a checkout."""

from tfcpn.commands.filter_coco import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
