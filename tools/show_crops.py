"""Run `tfcpn.commands.show_crops` from a checkout."""

from tfcpn.commands.show_crops import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
