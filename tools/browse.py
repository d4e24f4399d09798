"""Run `tfcpn.commands.browse` from a checkout."""

from tfcpn.commands.browse import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
