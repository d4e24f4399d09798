"""Run `tfcpn.commands.pck_by_turn` from a checkout."""

from tfcpn.commands.pck_by_turn import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
