"""The control socket: what an operator, a script or any nng client may say to the daemon. Reference: README.md here."""
