"""Every exported file is run, and compared with the trained network and with deploy mode."""
