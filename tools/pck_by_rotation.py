"""Run `tfcpn.commands.pck_by_rotation` from a checkout."""

from tfcpn.commands.pck_by_rotation import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
