"""Run `tfcpn.commands.score_video` from a checkout."""

from tfcpn.commands.score_video import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
