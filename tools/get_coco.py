"""Run `tfcpn.commands.get_coco` from a checkout."""

from tfcpn.commands.get_coco import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
