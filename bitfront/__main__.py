"""`python -m bitfront` is the command `bitfront`."""

from bitfront.command import main

main()
