"""The subcommands of `tfcpn`, besides train, eval and predict."""
