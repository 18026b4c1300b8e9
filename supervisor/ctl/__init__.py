"""otoctl, the command line of the control socket."""
