"""Run `tfcpn.commands.data_service` from a checkout."""

from tfcpn.commands.data_service import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
