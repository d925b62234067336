"""The command line and the supervisor behind `bitfront up`."""
