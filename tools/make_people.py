"""Run `tfcpn.commands.make_people` from a checkout."""

from tfcpn.commands.make_people import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
