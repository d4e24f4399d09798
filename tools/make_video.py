"""Run `tfcpn.commands.make_video` from a checkout."""

from tfcpn.commands.make_video import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
