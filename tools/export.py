"""Run `tfcpn.commands.export` from a checkout."""

from tfcpn.commands.export import COMMAND, main

if __name__ == "__main__":
    COMMAND.run(main)
