"""Run `tfcpn.commands.compare_blazepose` from a checkout."""

from tfcpn.commands.compare_blazepose import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
