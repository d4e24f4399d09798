"""Run `tfcpn.commands.report` from a checkout."""

from tfcpn.commands.report import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
