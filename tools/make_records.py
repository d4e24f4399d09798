"""Run `tfcpn.commands.make_records` from a checkout."""

from tfcpn.commands.make_records import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
