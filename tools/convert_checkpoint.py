"""Run `tfcpn.commands.convert_checkpoint` from a checkout."""

from tfcpn.commands.convert_checkpoint import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
