"""Run `tfcpn.commands.draw_poses` from a checkout."""

from tfcpn.commands.draw_poses import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
